"""A corpus from files of one's own: JSON Lines, CSV, Parquet, plain text, CoNLL, or ready-made token ids."""

import hashlib
from difflib import get_close_matches
from pathlib import Path

from fedsim.data.cached import make_once
from fedsim.data.columns import Column, Kind, missing
from fedsim.data.conll import Conll
from fedsim.data.corpus import Corpus
from fedsim.data.readers import Csv, JsonLines, Parquet, Reader, Text
from fedsim.data.samples import Builder, fingerprint_of, open_corpus
from fedsim.errors import UserError
from fedsim.observe.observer import Observer
from fedsim.scenario.data import FileCorpus

KEY = "data.corpus"


def load(spec: FileCorpus, base: Path, cache: Path, observer: Observer) -> Corpus:
    """The corpus in these files; built once for a given content, then opened from the cache.

    Args:
        spec: The files and their columns.
        base: Folder that relative paths start from.
        cache: Folder for what is built; nothing is left in it when building fails.
        observer: Told of samples left out and of classes without training samples.

    Raises:
        UserError: A file is missing or malformed; says where, and what to change.
    """
    parts = ["train"] * len(spec.train) + ["test"] * len(spec.test)
    files = [base / file.expanduser() for file in (*spec.train, *spec.test)]
    readers = [_reader(spec, file, part) for file, part in zip(files, parts, strict=True)]
    hashes = [sha256(file) for file in files]
    for file, digest in zip(files, hashes, strict=True):
        if (other := files[hashes.index(digest)]) != file or files.count(file) > 1:
            raise UserError(f"the same content as {other}: list it once", file=file, key=f"{KEY}.train")
    fingerprint = fingerprint_of(
        "files",
        spec.model_dump(mode="json", exclude={"train", "test", "format"}),
        [[part, type(reader).__name__, digest] for part, reader, digest in zip(parts, readers, hashes, strict=True)],
    )

    def build(folder: Path) -> None:
        builder = Builder(folder, spec.test_fraction, observer)
        first: list[Column] = []
        for file, part, reader in zip(files, parts, readers, strict=True):
            columns = _columns(spec, reader, file, part)
            first = first or columns
            _check_alike(columns, first, file, files[0], part)
            builder.add(reader.chunks(columns), test=part == "test" if spec.test else None, source=str(file))
        builder.finish({})

    folder = cache / "corpora" / fingerprint
    make_once(folder, build)
    sources = {str(name): digest for name, digest in zip((*spec.train, *spec.test), hashes, strict=True)}
    return open_corpus(folder, fingerprint, sources, observer, spec.tokenised)


def check(spec: FileCorpus, base: Path) -> None:
    """Look for the files and their columns without reading them.

    Raises:
        UserError: One is missing, empty or a folder, or has not the columns that it must have.
    """
    for part, files in (("train", spec.train), ("test", spec.test)):
        for file in (base / file.expanduser() for file in files):
            _columns(spec, _reader(spec, file, part), file, part)


def sha256(file: Path) -> str:
    """Hash of a file's content, hexadecimal.

    Raises:
        UserError: It cannot be read.
    """
    try:
        with file.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", file=file) from None


def _reader(spec: FileCorpus, file: Path, part: str) -> Reader:
    key = f"{KEY}.{part}"
    if file.is_dir():
        raise UserError("a folder: list its files, or load it with kind: hub", file=file, key=key)
    if not file.exists():
        beside = [other.name for other in file.parent.iterdir()] if file.parent.is_dir() else []
        near = get_close_matches(file.name, beside, n=1)
        hint = f"did you mean '{near[0]}'?" if near else "paths start from the scenario's folder"
        raise UserError(f"no such file; {hint}", file=file, key=key)
    if file.stat().st_size == 0:
        raise UserError("the file is empty", file=file, key=key)
    match spec.format_of(file):
        case "jsonl":
            return JsonLines(file)
        case "csv":
            return Csv(file)
        case "parquet":
            return Parquet(file)
        case "conll":
            return Conll(file, str(spec.tags))
        case _:
            return Text(file)


def _columns(spec: FileCorpus, reader: Reader, file: Path, part: str) -> list[Column]:
    """The columns to read from this file."""
    text = Column(spec.text, "text", Kind.text, f"{KEY}.text")
    asks_client = spec.client is not None and "client" in spec.model_fields_set
    if isinstance(reader, Text | Conll):
        if asks_client:
            fault = "this format has no named columns: remove it, or use JSON Lines, CSV or Parquet"
            raise UserError(fault, file=file, key=f"{KEY}.client")
        return [text]
    present = reader.columns()
    if not present:
        raise UserError("there is no sample in it", file=file, key=f"{KEY}.{part}")
    columns = [text]
    if spec.tokenised:
        # Plain `labels` are one label a sample, and a task where they are listed; lists are one target a token.
        optional = [name for name in ("attention_mask", "labels") if present.get(name) and name not in spec.labels]
        columns = [Column(name, name, Kind.ids, f"{KEY}.tokenised") for name in ("input_ids", *optional)]
    columns += [Column(name, f"label.{name}", Kind.name, f"{KEY}.labels") for name in spec.labels]
    if spec.client is not None and (spec.client in present or (asks_client and part == "train")):
        columns.append(Column(spec.client, "client", Kind.name, f"{KEY}.client"))
    for column in columns:
        if column.source not in present:
            raise missing(column, present, file)
    return columns


def _check_alike(columns: list[Column], first: list[Column], file: Path, first_file: Path, part: str) -> None:
    optional = {"attention_mask", "client"} if part == "test" else {"attention_mask"}
    here, there = {column.target for column in columns}, {column.target for column in first}
    for column in [*columns, *first]:
        if column.target in (here ^ there) - optional:
            has, lacks = (file, first_file) if column.target in here else (first_file, file)
            fault = f"no column '{column.source}' with {column.kind}, which {has} has: give all files the same columns"
            raise UserError(fault, file=lacks, key=column.key)
