import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fedsim.errors import FedsimError
from fedsim.store import atomic

TABLE = pa.table({"n": [1, 2], "word": ["a", "b"]})
WRITERS: dict[str, Callable[[Path], object]] = {
    "bytes": lambda path: atomic.write_bytes(path, b"new"),
    "json": lambda path: atomic.write_json(path, {"new": 1}),
    "parquet": lambda path: atomic.write_parquet(path, TABLE, {"version": "1"}),
    "tensors": lambda path: atomic.write_tensors(path, {"new": np.ones(3)}),
}


def write_folder(path: Path, text: str) -> None:
    with atomic.replacing(path) as temporary:
        (temporary / "sub").mkdir(parents=True)
        (temporary / "sub" / "file").write_text(text)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """`full_disk(n)`: the n-th sync from now on finds the disk full."""

    def fill(after: int) -> None:
        left = iter(range(after - 1, -1, -1))
        sync = os.fsync

        def fsync(handle: int) -> None:
            if next(left, -1) == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            sync(handle)

        monkeypatch.setattr(os, "fsync", fsync)

    yield fill
    monkeypatch.undo()


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    atomic.write_bytes(tmp_path / "a" / "b" / "bytes", b"\x00\xff")
    assert (tmp_path / "a" / "b" / "bytes").read_bytes() == b"\x00\xff"
    atomic.write_json(tmp_path / "json", {"x": 0.1, "y": [1, None]})
    assert json.loads((tmp_path / "json").read_text()) == {"x": 0.1, "y": [1, None]}
    assert atomic.write_parquet(tmp_path / "parquet", TABLE, {"version": "1"}) == atomic.sha256(tmp_path / "parquet")
    assert pq.read_table(tmp_path / "parquet").equals(TABLE)
    assert pq.read_metadata(tmp_path / "parquet").metadata == {b"version": b"1"}
    assert names(tmp_path) == ["a", "json", "parquet"]


def test_json_for_others_has_no_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        atomic.write_json(tmp_path / "json", {"loss": float("nan")})


def test_arrays_keep_order_shape_type_and_bits(tmp_path: Path) -> None:
    arrays: dict[str, atomic.Array] = {
        "z": np.array(3, np.int32),
        "transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "empty": np.zeros((0, 4), np.float16),
        "flags": np.array([True, False]),
        "a": np.array([np.nan, -0.0, np.inf, 5e-324]),
    }
    atomic.write_tensors(tmp_path / "arrays", arrays)
    back = atomic.read_tensors(tmp_path / "arrays")
    assert list(back) == list(arrays)
    for name, array in arrays.items():
        assert (back[name].dtype, back[name].shape) == (array.dtype, array.shape)
        assert back[name].tobytes() == array.tobytes()
        assert back[name].flags.writeable
    atomic.write_tensors(tmp_path / "none", {})
    assert atomic.read_tensors(tmp_path / "none") == {}


@pytest.mark.parametrize("content", [b"", b"abc", b"\x02\x00\x00\x00\x00\x00\x00\x00{}", b"\xff" * 100])
def test_a_damaged_file_of_arrays_is_an_os_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "arrays").write_bytes(content)
    with pytest.raises(OSError, match="not a file of arrays"):
        atomic.read_tensors(tmp_path / "arrays")
    with pytest.raises(OSError, match="No such file"):
        atomic.read_tensors(tmp_path / "missing")


def test_a_folder_takes_the_place_of_a_folder(tmp_path: Path) -> None:
    for text in ("old", "new"):
        write_folder(tmp_path / "folder", text)
        assert (tmp_path / "folder" / "sub" / "file").read_text() == text
        assert names(tmp_path) == ["folder"]


@pytest.mark.parametrize("kind", WRITERS)
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, kind: str, full_disk: Callable[[int], None]) -> None:
    target = tmp_path / "file"
    target.write_text("old")
    full_disk(1)
    with pytest.raises(FedsimError, match=f"cannot write {target}: No space left on device"):
        WRITERS[kind](target)
    assert target.read_text() == "old"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("sync", [1, 2, 3])
def test_a_full_disk_leaves_the_old_folder(tmp_path: Path, sync: int, full_disk: Callable[[int], None]) -> None:
    write_folder(tmp_path / "folder", "old")
    full_disk(sync)
    with pytest.raises(FedsimError, match="No space left"):
        write_folder(tmp_path / "folder", "new")
    assert (tmp_path / "folder" / "sub" / "file").read_text() == "old"
    assert names(tmp_path) == ["folder"]


def test_a_folder_that_cannot_be_replaced_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path / "folder", "old")
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if ".tmp-" in self.name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(FedsimError, match="No space left"):
        write_folder(tmp_path / "folder", "new")
    assert (tmp_path / "folder" / "sub" / "file").read_text() == "old"
    assert names(tmp_path) == ["folder"]


LIMITED = """
import resource, sys
from pathlib import Path
import numpy as np
import pyarrow as pa
from fedsim.errors import FedsimError
from fedsim.store import atomic

target = Path(sys.argv[1])
noise = np.random.default_rng(0).random(10_000)
writers = {
    "bytes": lambda: atomic.write_bytes(target, noise.tobytes()),
    "parquet": lambda: atomic.write_parquet(target, pa.table({"x": noise}), {}),
    "tensors": lambda: atomic.write_tensors(target, {"x": noise}),
}
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
for name, write in writers.items():
    try:
        write()
    except FedsimError as error:
        print(name, error)
"""


def test_a_write_that_the_system_cuts_short_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("old")
    run = subprocess.run([sys.executable, "-c", LIMITED, target], capture_output=True, text=True, check=True)
    assert [line.split()[:4] for line in run.stdout.splitlines()] == [
        [name, "cannot", "write", f"{target}:"] for name in ("bytes", "parquet", "tensors")
    ]
    assert target.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_an_error_of_the_writer_itself_is_passed_on(tmp_path: Path) -> None:
    def interrupted() -> None:
        with atomic.replacing(tmp_path / "file") as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert names(tmp_path) == []


def test_folders_that_cannot_be_synced_are_left_to_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sync = os.fsync

    def fsync(handle: int) -> None:
        if Path(f"/proc/self/fd/{handle}").readlink().is_dir():
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        sync(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    atomic.write_bytes(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"


def test_strays_are_removed_and_reported(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "kept.tmp").write_text("")
    (tmp_path / "deep" / "part.parquet.tmp-12-0123abcd").write_text("torn")
    (tmp_path / "round-000001.tmp-12-0123abcd").mkdir()
    (tmp_path / "round-000001.tmp-12-0123abcd" / "file").write_text("")
    (tmp_path / "round-000002.old-12-0123abcd").mkdir()
    (tmp_path / "round-000002.old-12-0123abcd" / "file").write_text("old")
    notes = atomic.remove_stray(tmp_path)
    assert names(tmp_path) == ["deep", "round-000002"]
    assert (tmp_path / "round-000002" / "file").read_text() == "old"
    assert names(tmp_path / "deep") == ["kept.tmp"]
    assert sorted(note.split()[0] for note in notes) == ["put", "removed", "removed"]
    assert atomic.remove_stray(tmp_path) == ()


def test_an_old_folder_whose_successor_is_there_is_removed(tmp_path: Path) -> None:
    (tmp_path / "round-000002.old-12-0123abcd").mkdir()
    (tmp_path / "round-000002").mkdir()
    assert len(atomic.remove_stray(tmp_path)) == 1
    assert names(tmp_path) == ["round-000002"]
