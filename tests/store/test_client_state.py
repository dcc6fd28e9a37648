import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from fedsim.errors import FedsimError
from fedsim.store import ClientStore
from fedsim.store.atomic import Array


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_round_trip_and_spread(tmp_path: Path) -> None:
    store = ClientStore(tmp_path)
    arrays: dict[str, Array] = {"z": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.array([7], np.int64)}
    store.write(1_234_567, 4, arrays)
    assert files(tmp_path) == ["1234/1234567-4.safetensors"]
    back = store.read(1_234_567, 4)
    assert back is not None
    assert list(back) == ["z", "a"]
    np.testing.assert_array_equal(back["z"], arrays["z"])


def test_no_state_yet_is_none_and_a_lost_one_is_an_error(tmp_path: Path) -> None:
    store = ClientStore(tmp_path)
    assert store.read(3, -1) is None
    with pytest.raises(FedsimError, match=r"client 3 kept in round 2 .* No such file"):
        store.read(3, 2)
    store.write(3, 2, {"x": np.ones(4)})
    path = tmp_path / "000" / "3-2.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(FedsimError, match="client 3"):
        store.read(3, 2)


def test_a_block_that_is_run_twice_leaves_the_same_file(tmp_path: Path) -> None:
    store = ClientStore(tmp_path)
    store.write(3, 2, {"x": np.ones(4)})
    once = (tmp_path / "000" / "3-2.safetensors").read_bytes()
    store.write(3, 2, {"x": np.ones(4)})
    assert (tmp_path / "000" / "3-2.safetensors").read_bytes() == once
    assert len(files(tmp_path)) == 1


def test_prune_keeps_what_a_checkpoint_may_ask_for(tmp_path: Path) -> None:
    store = ClientStore(tmp_path)
    assert store.prune(np.zeros(4, np.int32), 0) == 0
    for client, round_ in [(0, 1), (0, 4), (0, 6), (0, 9), (1, 9), (2, 3), (5, 3)]:
        store.write(client, round_, {"x": np.array([client, round_])})
    oldest_checkpoint = np.array([4, -1, 3, -1], np.int32)
    assert store.prune(oldest_checkpoint, 6) == 4
    # Client 0's round 1 is superseded, round 9 is not committed, and there is no client 5.
    assert files(tmp_path) == [f"000/{name}.safetensors" for name in ("0-4", "0-6", "2-3")]
    assert store.prune(oldest_checkpoint, 6) == 0


def _write_many(folder: Path) -> None:
    store = ClientStore(folder)
    for client in range(0, 30_000, 3_000):
        store.write(client, 1, {"x": np.full(100, client)})


def test_several_processes_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_write_many, args=(tmp_path,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert len(files(tmp_path)) == 10
    for client in range(0, 30_000, 3_000):
        state = ClientStore(tmp_path).read(client, 1)
        assert state is not None
        assert state["x"].tolist() == [client] * 100
