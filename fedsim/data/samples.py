"""From checked columns to a corpus: what is left out, what is held out, and the classes behind the labels."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from fedsim.data.columns import Chunk
from fedsim.data.corpus import Corpus
from fedsim.data.tokenised import without_padding
from fedsim.errors import UserError
from fedsim.observe.observer import Observer

if TYPE_CHECKING:
    import datasets

LAYOUT = 1
"""Version of the folders written here; part of every fingerprint."""

Bools = npt.NDArray[np.bool_]


class Builder:
    """Collects samples in a folder; `finish` makes the corpus of them.

    Samples go to disk as they come: classes are known only when all have been seen, and a corpus may be larger
    than memory.
    """

    def __init__(self, folder: Path, test_fraction: float, observer: Observer) -> None:
        self._folder, self._test_fraction, self._observer = folder, test_fraction, observer
        self._names: list[str] = []
        self._writer: Any = None
        self._samples = {False: 0, True: 0}
        self._notes: list[str] = []

    def add(self, chunks: Iterable[Chunk], *, test: bool | None, source: str) -> None:
        """Take the samples of one source; `test` None: `test_fraction` of them, chosen by a hash of the content.

        Raises:
            UserError: A sample is malformed, or none can be used.
        """
        kept = left_out = 0
        first = ""
        with self._observer.task(f"reading {Path(source).name}", None) as advance:
            for chunk in chunks:
                columns, content = _usable(chunk)
                filled = pa.array(content)
                if not content.all():
                    first = first or chunk.origin.place(int(np.argmin(content)))
                    columns = {name: array.filter(filled) for name, array in columns.items()}
                rows = int(content.sum())
                if rows:
                    self._write(columns, rows, test)
                kept, left_out = kept + rows, left_out + len(content) - rows
                advance(len(content))
        if kept == 0:
            raise UserError("there is no sample in it, or none with any content", file=source)
        if left_out:
            self._notes.append(f"{source}: samples without content left out: {left_out}, the first in {first}")

    def _write(self, columns: dict[str, pa.Array], rows: int, test: bool | None) -> None:
        if test is None:
            tested = held_out(columns["text" if "text" in columns else "input_ids"], self._test_fraction)
        else:
            tested = np.full(rows, test)
        self._samples[True] += int(tested.sum())
        self._samples[False] += int((~tested).sum())
        columns["test"] = pa.array(tested)
        if self._writer is None:
            self._names = list(columns)
            schema = pa.schema([(name, array.type) for name, array in columns.items()])
            self._writer = pa.ipc.new_stream(self._folder / "spool.arrow", schema)
        if "client" in self._names and "client" not in columns:
            columns["client"] = pa.array([""] * rows)  # test samples may belong to nobody
        self._writer.write_batch(pa.record_batch({name: columns[name] for name in self._names}))

    def finish(self, classes: Mapping[str, tuple[str, ...]]) -> None:
        """Write the corpus; `classes`: the label columns whose classes come with names in an order of their own.

        Raises:
            UserError: Nothing to train or to test on is left, a label column has a single class, or there are no tags.
        """
        self._writer.close()
        with pa.memory_map(str(self._folder / "spool.arrow")) as file:
            spool = pa.ipc.open_stream(file).read_all()
            names = {name: _names(name, spool.column(name), classes) for name in self._names if "." in name}
            self._check_both_parts()
            self._note_unseen(spool, names)
            with pa.ipc.new_stream(self._folder / "corpus.arrow", _schema(self._names, names)) as writer:
                for batch in spool.to_batches():
                    columns = [_encoded(name, batch.column(name), names.get(name, ())) for name in self._names]
                    writer.write_batch(pa.record_batch(columns, schema=_schema(self._names, names)))
        (self._folder / "spool.arrow").unlink()
        meta = {"names": names, "notes": self._notes}
        (self._folder / "meta.json").write_text(json.dumps(meta, indent=1), encoding="utf-8")

    def _check_both_parts(self) -> None:
        for test, part in ((False, "train"), (True, "test")):
            if self._samples[test] == 0:
                fault = f"none of the {self._samples[not test]} samples falls to the {part} part"
                remedy = "change the fraction, or give test data of its own"
                raise UserError(f"{fault}: {remedy}", key="data.corpus.test_fraction")

    def _note_unseen(self, spool: pa.Table, names: Mapping[str, tuple[str, ...]]) -> None:
        trained = pc.invert(spool.column("test"))
        for name in (name for name in names if name.startswith("label.")):
            values = spool.column(name)
            unseen = set(pc.unique(values).to_pylist()) - set(pc.unique(values.filter(trained)).to_pylist())
            if unseen:
                self._notes.append(f"{name}: only test samples are of class {', '.join(in_order(unseen))}")


def open_corpus(
    folder: Path, fingerprint: str, sources: Mapping[str, str], observer: Observer, tokenised: bool = False
) -> Corpus:
    """The corpus that `Builder` wrote in `folder`; repeats what there was to note about it."""
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    for note in meta["notes"]:
        observer.note(note)
    groups: dict[str, dict[str, tuple[str, ...]]] = {"label": {}, "spans": {}}
    for column, names in meta["names"].items():
        group, _, name = column.partition(".")
        groups[group][name] = tuple(names)
    read = partial(_table, folder / "corpus.arrow")
    return Corpus(read, fingerprint, groups["label"], groups["spans"], dict(sources), tokenised)


def _table(file: Path) -> "datasets.Dataset":
    import datasets

    return datasets.Dataset.from_file(str(file))


def held_out(content: pa.Array, fraction: float) -> Bools:
    """Which samples are for tests, by their content alone: equal samples fall to the same side."""
    if pa.types.is_string(content.type):
        pieces = (text.encode() for text in content.to_pylist())
    else:
        entries = np.asarray(content.flatten(), dtype="<i4").tobytes()
        ends = 4 * np.cumsum(np.asarray(content.value_lengths(), dtype=np.int64))
        pieces = (entries[start:end] for start, end in zip([0, *ends], ends, strict=False))
    words = b"".join(hashlib.blake2b(piece, digest_size=8).digest() for piece in pieces)
    held: Bools = np.frombuffer(words, dtype="<u8") < np.uint64(fraction * 2**64)
    return held


def in_order(values: Iterable[str]) -> tuple[str, ...]:
    """Distinct values, sorted: as numbers where all are integers, else as text."""
    distinct = set(values)
    if all(re.fullmatch(r"0|-?[1-9][0-9]*", value) for value in distinct):
        return tuple(sorted(distinct, key=int))
    return tuple(sorted(distinct))


def fingerprint_of(*parts: Any) -> str:
    """SHA-256 over JSON-able parts and the layout version."""
    return hashlib.sha256(json.dumps([LAYOUT, *parts], sort_keys=True).encode()).hexdigest()


def _usable(chunk: Chunk) -> tuple[dict[str, pa.Array], Bools]:
    """The columns, and which rows have any content."""
    if "text" in chunk.columns:
        columns = dict(chunk.columns)
        lengths = pc.utf8_length(pc.utf8_trim_whitespace(columns["text"]))
    else:
        columns = dict(without_padding(chunk))
        lengths = pc.list_value_length(columns["input_ids"])
    return columns, np.asarray(pc.greater(lengths, 0), dtype=np.bool_)


def _names(column: str, values: pa.ChunkedArray, given: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    group, _, name = column.partition(".")
    if group == "spans":
        types: set[str] = set()
        for chunk in values.chunks:
            types.update(pc.unique(chunk.flatten().field("type")).to_pylist())
        if not types:
            raise UserError(
                "every tag in the last column is O: is it the last column that has the tags?", key="data.corpus.tags"
            )
        return in_order(types)
    distinct = given.get(name) or in_order(pc.unique(values).to_pylist())
    if len(distinct) < 2:
        fault = (
            f"column '{name}' has a single class, '{distinct[0]}': there is nothing to learn, take it out of the labels"
        )
        raise UserError(fault, key="data.corpus.labels")
    return distinct


def _encoded(column: str, array: pa.Array, names: tuple[str, ...]) -> pa.Array:
    """Names as indices into `names`."""
    if column.startswith("label."):
        return pc.index_in(array, pa.array(names)).cast(pa.int64())
    if not column.startswith("spans."):
        return array
    start, end, kind = array.flatten().flatten()
    spans = pa.StructArray.from_arrays([start, end, pc.index_in(kind, pa.array(names))], ["start", "end", "type"])
    offsets = np.concatenate(([0], np.cumsum(np.asarray(array.value_lengths()))))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), spans)


def _schema(columns: Iterable[str], names: Mapping[str, tuple[str, ...]]) -> pa.Schema:
    import datasets

    integer = datasets.Value("int32")

    def feature(column: str) -> Any:
        if column.startswith("label."):
            return datasets.ClassLabel(names=list(names[column]))
        if column.startswith("spans."):
            return datasets.List({"start": integer, "end": integer, "type": integer})
        if column in ("input_ids", "labels"):
            return datasets.List(integer)
        return datasets.Value("bool" if column == "test" else "string")

    return datasets.Features({column: feature(column) for column in columns}).arrow_schema
