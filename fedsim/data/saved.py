"""Arrow tables in the folder format of Hugging Face `datasets`, so that anybody can open them."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

if TYPE_CHECKING:
    import datasets

_FILE = "data-00000-of-00001.arrow"


def save(columns: Mapping[str, pa.Array], features: "datasets.Features", fingerprint: str, folder: Path) -> None:
    """Write columns for `datasets.load_from_disk`."""
    import datasets

    table = pa.table(dict(columns)).cast(features.arrow_schema)
    dataset = datasets.Dataset(table, info=datasets.DatasetInfo(features=features), fingerprint=fingerprint[:16])
    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()  # the observer shows progress, in one place
    try:
        dataset.save_to_disk(str(folder), num_shards=1)
    finally:
        if shown:
            datasets.enable_progress_bars()


def merge_batches(folder: Path) -> None:
    """Rewrite what `save` wrote as one record batch, so that every column is one array without a copy."""
    file, merged = folder / _FILE, folder / f"{_FILE}.merged"
    with pa.memory_map(str(file)) as source:
        table = pa.ipc.open_stream(source).read_all().combine_chunks()
        with pa.ipc.new_stream(str(merged), table.schema) as writer:
            writer.write_table(table, max_chunksize=max(1, len(table)))
    merged.replace(file)


def open_batch(folder: Path) -> pa.RecordBatch:
    """The columns of a folder of one record batch, memory-mapped."""
    return pa.ipc.open_stream(pa.memory_map(str(folder / _FILE))).read_next_batch()


def numbers(column: pa.Array) -> npt.NDArray[np.int32]:
    """An int32 column without nulls, as it lies in the file (pyarrow's own conversion would import pandas)."""
    return np.frombuffer(column.buffers()[1], np.int32)[column.offset : column.offset + len(column)]


def booleans(column: pa.Array) -> npt.NDArray[np.bool_]:
    """A copy of a Boolean column without nulls; Arrow keeps eight in a byte."""
    bits = np.unpackbits(np.frombuffer(column.buffers()[1], np.uint8), bitorder="little")
    return bits[column.offset : column.offset + len(column)].astype(np.bool_)


def offsets(column: pa.Array) -> npt.NDArray[np.int64]:
    """[rows + 1]: where the lists of a large-list column start and end in its values."""
    return np.frombuffer(column.buffers()[1], np.int64)[column.offset : column.offset + len(column) + 1]
