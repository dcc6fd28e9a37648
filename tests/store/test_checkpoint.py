import math
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fedsim.errors import FedsimError, UserError
from fedsim.store import CheckpointState, load_latest, save
from fedsim.store import checkpoint as module


def state(round_: int) -> CheckpointState:
    arrays = {
        "layer.1": np.full(5, round_, np.float32),
        "embeddings": np.array([np.nan, -0.0], np.float32),
        "versions": np.full((3, 2), -1, np.int32),
    }
    return CheckpointState(round_, arrays, {"clock_s": 0.1 + round_, "loss": math.nan, "stage": 2, "big": 2**62})


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_round_trip(tmp_path: Path) -> None:
    save(tmp_path, state(12))
    loaded = load_latest(tmp_path)
    assert loaded is not None
    assert (loaded.round, loaded.notes) == (12, ())
    assert list(loaded.arrays) == ["layer.1", "embeddings", "versions"]
    for name, array in state(12).arrays.items():
        assert loaded.arrays[name].dtype == array.dtype
        assert loaded.arrays[name].tobytes() == array.tobytes()
    assert math.isnan(loaded.meta["loss"])
    assert {k: v for k, v in loaded.meta.items() if k != "loss"} == {"clock_s": 12.1, "stage": 2, "big": 2**62}


def test_none_where_nothing_was_saved(tmp_path: Path) -> None:
    assert load_latest(tmp_path) is None
    assert load_latest(tmp_path / "missing") is None


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    for round_ in (0, 5, 10, 1_000_000):
        save(tmp_path, state(round_))
    assert names(tmp_path) == ["round-000010", "round-1000000"]
    loaded = load_latest(tmp_path)
    assert loaded is not None
    assert loaded.round == 1_000_000


def test_a_round_that_is_saved_again_is_replaced_and_later_ones_are_given_up(tmp_path: Path) -> None:
    for round_ in (1, 2, 3):
        save(tmp_path, state(round_))
    save(tmp_path, CheckpointState(2, {"x": np.ones(1)}))
    assert names(tmp_path) == ["round-000002"]
    loaded = load_latest(tmp_path)
    assert loaded is not None
    assert (loaded.round, list(loaded.arrays), loaded.meta) == (2, ["x"], {})


@pytest.mark.parametrize("file", ["arrays.safetensors", "meta.json", "SHA256SUMS"])
@pytest.mark.parametrize("damage", ["flip", "cut", "missing", "empty"])
def test_a_damaged_one_is_passed_over_with_a_note(tmp_path: Path, file: str, damage: str) -> None:
    save(tmp_path, state(1))
    save(tmp_path, state(2))
    path = tmp_path / "round-000002" / file
    content = path.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes({"flip": flipped, "cut": content[:-70], "empty": b""}[damage])
    loaded = load_latest(tmp_path)
    assert loaded is not None
    assert loaded.round == 1
    assert len(loaded.notes) == 1
    assert "round-000002 is damaged" in loaded.notes[0]


def test_all_damaged_is_an_error_and_not_a_new_start(tmp_path: Path) -> None:
    for round_ in (1, 2):
        save(tmp_path, state(round_))
        (tmp_path / f"round-{round_:06d}" / "meta.json").write_text("{}")
    with pytest.raises(FedsimError, match=r"no checkpoint can be read(.|\n)*round-000002(.|\n)*round-000001"):
        load_latest(tmp_path)


def test_a_folder_under_another_name_is_not_that_round(tmp_path: Path) -> None:
    save(tmp_path, state(1))
    (tmp_path / "round-000001").rename(tmp_path / "round-000003")
    with pytest.raises(FedsimError, match="it is of round 1"):
        load_latest(tmp_path)


def test_strays_are_cleared_and_noted(tmp_path: Path) -> None:
    save(tmp_path, state(1))
    (tmp_path / "round-000002.tmp-7-00000000").mkdir()
    loaded = load_latest(tmp_path)
    assert loaded is not None
    assert (len(loaded.notes), names(tmp_path)) == (1, ["round-000001"])


def test_one_of_another_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for version, advice in ((module.FORMAT_VERSION + 1, "upgrade fedsim"), (1, "by an older fedsim: go on with that")):
        monkeypatch.setattr(module, "FORMAT_VERSION", version)
        save(tmp_path, state(1))
        monkeypatch.undo()
        with pytest.raises(UserError, match=advice):
            load_latest(tmp_path)


def test_a_full_disk_leaves_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, state(1))

    def full(handle: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FedsimError, match="round-000002: No space left"):
        save(tmp_path, state(2))
    loaded = load_latest(tmp_path)
    assert loaded is not None
    assert (loaded.round, loaded.notes) == (1, ())


def test_checkpoints_are_spaced_by_what_they_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.9, 2.0, 2.0, 2.09, 4.0, 4.1, 20.0, 23.0, 82.9, 83.0])
    monkeypatch.setattr("fedsim.store.checkpoint.time", SimpleNamespace(monotonic=lambda: next(clock)))
    spacing = module.Spacing()
    assert [spacing.due, spacing.due] == [False, True]
    with spacing:  # from 2.0 to 2.09: cheap, so that the shortest distance counts
        pass
    assert [spacing.due, spacing.due] == [False, True]
    with spacing:  # from 20 to 23
        pass
    assert [spacing.due, spacing.due] == [False, True]
