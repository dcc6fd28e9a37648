"""Checks of samples that come as token ids."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fedsim.data.columns import IDS, Chunk

NOT_PREDICTED = -100
"""The target of a token that no loss is taken at, as in transformers."""

Ints = npt.NDArray[np.int64]


def without_padding(chunk: Chunk) -> Mapping[str, pa.Array]:
    """The columns without `attention_mask`, and `input_ids` and `labels` without the tail that it masks.

    Raises:
        UserError: A negative id, a target that is no id, lists of unequal lengths, or a mask that is not ones
            followed by zeros; names the line or row.
    """
    columns = dict(chunk.columns)
    ids, lengths = _flat(columns["input_ids"])
    _refuse(chunk, ids < 0, lengths, "column 'input_ids' has a negative id")
    if "labels" in columns:
        targets, of = _flat(columns["labels"])
        _refuse(chunk, of != lengths, None, "column 'labels' is not as long as 'input_ids'")
        wrong = (targets < 0) & (targets != NOT_PREDICTED)
        _refuse(chunk, wrong, lengths, f"column 'labels' has a negative target that is not {NOT_PREDICTED}")
    if "attention_mask" not in columns:
        return columns
    mask, of = _flat(columns.pop("attention_mask"))
    _refuse(chunk, of != lengths, None, "column 'attention_mask' is not as long as 'input_ids'")
    row = np.repeat(np.arange(len(lengths)), lengths)
    kept = np.bincount(row, mask != 0, minlength=len(lengths)).astype(np.int64)
    place = np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    fault = "column 'attention_mask' must be ones, then zeros (padding on the right)"
    _refuse(chunk, mask != (place < kept[row]), lengths, fault)
    offsets = pa.array(np.concatenate(([0], np.cumsum(kept))), pa.int32())
    for name in {"input_ids", "labels"} & columns.keys():
        entries = columns[name].flatten().filter(pa.array(mask == 1))
        columns[name] = pa.ListArray.from_arrays(offsets, entries, IDS)
    return columns


def _flat(lists: pa.Array) -> tuple[Ints, Ints]:
    return np.asarray(lists.flatten(), dtype=np.int64), np.asarray(lists.value_lengths(), dtype=np.int64)


def _refuse(chunk: Chunk, wrong: npt.NDArray[np.bool_], lengths: Ints | None, fault: str) -> None:
    """Raise for the first wrong entry; `lengths` None: there is one entry a row."""
    if wrong.any():
        at = int(np.argmax(wrong))
        row = at if lengths is None else int(np.searchsorted(np.cumsum(lengths), at, side="right"))
        raise chunk.origin.error(fault, row, "data.corpus.tokenised")
