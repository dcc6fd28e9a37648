"""Files and folders that are either the old ones or the new ones, never something in between.

What is written goes to `NAME.tmp-PID-XXXXXXXX` beside its target, is flushed to the disk, and takes the target's
place by a rename. A full disk leaves the target as it was. A killed process leaves a stray temporary file
behind; `remove_stray` clears those when the run goes on.
"""

import errno
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from fedsim.errors import FedsimError

Array = npt.NDArray[Any]

_STRAY = re.compile(r"(?P<name>.+)\.(?P<kind>tmp|old)-\d+-[0-9a-f]{8}")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write a file or a folder at; when the block ends well, it takes the place of `path`.

    Missing parent folders are made. When the block fails, what it wrote is removed and `path` stays as it was.

    Raises:
        FedsimError: The disk refused (full, read-only, ...); names `path`.
    """
    temporary = _beside(path, "tmp")
    try:
        _make(path.parent)
        yield temporary
        _sync_all(temporary)
        _swap(temporary, path)
        _sync(path.parent)
    except BaseException as error:
        _discard(temporary)
        if isinstance(error, OSError):
            reason = error.strerror or str(error)
            raise FedsimError(f"cannot write {path}: {reason}; nothing there is half-written") from error
        raise


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Write a file; raises as `replacing` does."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file for other programs to read, hence without NaN or infinity (ValueError)."""
    write_bytes(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())


def write_parquet(path: Path, table: pa.Table, metadata: Mapping[str, str]) -> str:
    """Write a Parquet file with `metadata` in its footer; returns the sha256 of the file, hexadecimal.

    Made for small files, in which what describes the data outweighs it: the Arrow schema, which repeats the Parquet
    one, and the statistics of columns stay out, and text alone has dictionaries. The file is made in memory and hashed
    there: little of it needs Python's lock, so that a thread that writes hardly slows down the others.
    """
    text = [field.name for field in table.schema if pa.types.is_string(field.type)]
    options = {"compression": "zstd", "store_schema": False, "write_statistics": False, "use_dictionary": text or False}
    memory = pa.BufferOutputStream()
    with pq.ParquetWriter(memory, table.schema, **options) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata(dict(metadata))
    content = memoryview(memory.getvalue())
    write_bytes(path, content)
    return hashlib.sha256(content).hexdigest()


def write_tensors(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write arrays as safetensors; `read_tensors` gives them back in the same order."""
    with replacing(path) as temporary:
        dump_tensors(temporary, arrays)


def dump_tensors(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write arrays as safetensors straight to `path`: for use inside `replacing`.

    Raises:
        OSError: The disk refused.
    """
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    try:
        save_file(contiguous, path, metadata={"order": json.dumps(list(arrays))})
    except SafetensorError as error:
        raise OSError(str(error)) from error


def read_tensors(path: Path) -> dict[str, Array]:
    """The arrays of `write_tensors`, as copies in memory.

    Raises:
        OSError: The file is missing, cut short, or something else.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in json.loads(file.metadata()["order"])}
    except (SafetensorError, TypeError, LookupError, ValueError) as error:
        raise OSError(f"not a file of arrays: {error}") from error


def sha256(path: Path) -> str:
    """Hash of a file's content, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_stray(folder: Path) -> tuple[str, ...]:
    """Clear what killed writers left anywhere under `folder`; one line for each thing done.

    Call it while nobody else writes there: it cannot tell a dead writer's file from a living one's.
    """
    notes = []
    for parent, folders, files in os.walk(folder):
        for name in sorted([*folders, *files]):
            match = _STRAY.fullmatch(name)
            if match is None:
                continue
            stray, target = Path(parent, name), Path(parent, match["name"])
            if match["kind"] == "old" and not target.exists():
                stray.rename(target)
                notes.append(f"put back {target}, which was about to be replaced")
            else:
                _discard(stray)
                notes.append(f"removed {stray}, left by a writer that was stopped")
        folders[:] = [name for name in folders if not _STRAY.fullmatch(name)]
    return tuple(notes)


def _beside(path: Path, kind: str) -> Path:
    # The process id alone does not tell writers apart where several machines share a file system.
    return path.with_name(f"{path.name}.{kind}-{os.getpid()}-{uuid.uuid4().hex[:8]}")


def _swap(temporary: Path, path: Path) -> None:
    if not (temporary.is_dir() and path.exists()):
        temporary.replace(path)
        return
    # A folder cannot be renamed onto one that has files. A kill between the two renames leaves the old folder
    # under its second name, and `remove_stray` puts it back.
    aside = _beside(path, "old")
    path.rename(aside)
    try:
        temporary.rename(path)
    except OSError:
        aside.rename(path)
        raise
    _discard(aside)


def _discard(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _make(folder: Path) -> None:
    if not folder.is_dir():
        _make(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync(folder.parent)


def _sync_all(path: Path) -> None:
    if path.is_dir():
        for child in path.iterdir():
            _sync_all(child)
    _sync(path)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network file systems have no sync for folders, and say so with EINVAL; files must be synced.
        if error.errno != errno.EINVAL or not path.is_dir():
            raise
    finally:
        os.close(handle)
