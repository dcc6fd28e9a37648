import json
import math
from pathlib import Path
from typing import Any

import pytest

from fedsim.errors import UserError
from fedsim.report.spread import as_json, repeats, spread

from .summaries import method

SCENARIO = {
    "name": "mine",
    "seed": 7,
    "data": {"partition": {"kind": "natural"}},
    "engine": {"kind": "ray", "hosts": 2, "precision": "float32"},
    "outputs": {"figures": True},
    "methods": {"fedavg": {"kind": "fedavg"}, "fedbt": {"kind": "fedbt", "pool": "all"}},
}


def written(folder: Path, accuracy: float = 0.5, **changes: Any) -> Path:
    """A run's folder, as far as a comparison reads it."""
    scenario = SCENARIO | {key: value for key, value in changes.items() if key != "price"}
    own = {name: method(finetune__accuracy=accuracy) for name in scenario["methods"]}  # type: ignore[attr-defined]
    folder.mkdir(parents=True)
    (folder / "scenario.json").write_text(json.dumps(scenario))
    (folder / "run.json").write_text(json.dumps({"methods": own, "price": changes.get("price", False)}))
    return folder


def test_the_deviation_is_that_of_a_sample() -> None:
    found = spread([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0])
    assert found is not None
    assert (found.n, found.mean) == (8, 5.0)
    assert found.deviation == pytest.approx(math.sqrt(32 / 7))
    assert spread([]) is None
    alone = spread([3])
    assert alone is not None
    assert (alone.mean, alone.deviation) == (3.0, None)


def test_equal_numbers_have_no_deviation_at_all() -> None:
    found = spread([0.1] * 3)
    assert found is not None
    assert (found.mean, found.deviation) == (0.1, 0.0)


def test_runs_that_differ_in_their_seeds_alone_are_one(tmp_path: Path) -> None:
    first = written(tmp_path / "a", 0.3)
    # neither names nor hosts nor outputs change a result
    second = written(
        tmp_path / "b", 0.5, seed=1, name="other", outputs={}, engine={"kind": "inline", "precision": "float32"}
    )
    third = written(tmp_path / "c", 0.4, seed=2)
    (found,) = repeats([first, second, third])
    assert (found.labels, found.seeds) == (("a", "b", "c"), (7, 1, 2))
    assert [own["quality"]["finetune/accuracy"] for own in found.methods["fedbt"]] == [0.3, 0.5, 0.4]


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 7},  # the same run again adds nothing to a mean
        {"seed": 1, "data": {"partition": {"kind": "iid"}}},
        {"seed": 1, "engine": {"kind": "ray", "hosts": 2, "precision": "bfloat16"}},
        {"seed": 1, "methods": {"fedbt": {"kind": "fedbt", "pool": "needed"}}},
        {"seed": 1, "price": True},
    ],
)
def test_other_runs_stand_by_themselves(changes: dict[str, Any], tmp_path: Path) -> None:
    found = repeats([written(tmp_path / "a"), written(tmp_path / "b", **changes)])
    assert [group.labels for group in found] == [("a",), ("b",)]


def test_a_run_may_have_other_methods(tmp_path: Path) -> None:
    second = written(tmp_path / "b", seed=1, methods={"fedavg": {"kind": "fedavg"}, "lora": {"kind": "lora"}})
    (found,) = repeats([written(tmp_path / "a"), second])
    assert {name: len(own) for name, own in found.methods.items()} == {"fedavg": 2, "fedbt": 1, "lora": 1}
    (chosen,) = repeats([tmp_path / "a", second], ["lora"])
    assert list(chosen.methods) == ["lora"]


def test_runs_with_one_name_are_called_by_their_paths(tmp_path: Path) -> None:
    runs = [written(tmp_path / "a/run"), written(tmp_path / "b/run", seed=1)]
    (found,) = repeats(runs)
    assert found.labels == tuple(map(str, runs))


def test_json_has_single_values_beside_their_mean(tmp_path: Path) -> None:
    (group,) = as_json(repeats([written(tmp_path / "a", 0.25), written(tmp_path / "b", 0.75, seed=1)]))
    assert (group["runs"], group["seeds"]) == (["a", "b"], [7, 1])
    accuracy = group["methods"]["fedavg"]["quality/finetune/accuracy"]
    assert accuracy == {"n": 2, "mean": 0.5, "deviation": pytest.approx(math.sqrt(0.125)), "values": [0.25, 0.75]}
    assert group["methods"]["fedavg"]["upload_bytes"]["deviation"] == 0.0


def test_what_is_asked_for_is_there_and_whole(tmp_path: Path) -> None:
    run = written(tmp_path / "a")
    with pytest.raises(UserError, match=r"--method: is fedabt; methods that have ended: fedavg, fedbt"):
        repeats([run], ["fedabt"])
    (run / "scenario.json").write_text("{}")
    with pytest.raises(UserError, match=r"damaged, or written by another version of fedsim"):
        repeats([run])
