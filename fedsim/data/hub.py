"""A corpus from a Hugging Face data set: by its name on the hub, or from a folder."""

import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fedsim.data.cached import make_once
from fedsim.data.columns import Chunk, Column, Kind, Origin, from_arrow, missing
from fedsim.data.corpus import Corpus
from fedsim.data.files import sha256
from fedsim.data.readers import ROWS
from fedsim.data.samples import Builder, fingerprint_of, open_corpus
from fedsim.errors import UserError, choose
from fedsim.observe.observer import Observer
from fedsim.scenario.data import HubCorpus

KEY = "data.corpus"
CONNECT_S = 5.0
"""Patience with a hub that does not answer. The libraries would retry each request for half a minute."""

WITHOUT_HUB = (
    "without a network, give the path of a folder made by `Dataset.save_to_disk`, or set HF_HUB_OFFLINE=1 where the "
    "data set is in the Hugging Face cache already"
)
OR_NULL = "; with test_split: null, test_fraction of the training split is held out"


def load(spec: HubCorpus, base: Path, cache: Path, observer: Observer) -> Corpus:
    """The corpus in this data set; built once, then opened from the cache.

    A data set on the hub is fetched once and stays as it was then. With `HF_HUB_OFFLINE=1` the Hugging Face cache of
    this machine is used and no connection is tried.

    Args:
        spec: The data set, its splits and its columns.
        base: Folder that a relative path starts from.
        cache: Folder for what is built; nothing is left in it when building fails.
        observer: Told of samples left out and of classes without training samples.

    Raises:
        UserError: The data set cannot be had, or a split or column is missing or of the wrong type.
    """
    local = base / Path(spec.name).expanduser()
    folder_given = local.is_dir()
    if not folder_given and (spec.name.startswith((".", "/", "~")) or spec.name.count("/") > 1):
        raise UserError("no such folder; paths start from the scenario's folder", file=local, key=f"{KEY}.name")
    sources = {file.relative_to(local).as_posix(): sha256(file) for file in _files(local)} if folder_given else {}
    fingerprint = fingerprint_of("hub", spec.model_dump(mode="json"), sources)

    def build(folder: Path) -> None:
        scratch = folder / "datasets"
        train, *test = _splits(spec, local, scratch) if folder_given else _fetched(spec)
        builder = Builder(folder, spec.test_fraction, observer)
        classes = _add(builder, spec, train, spec.train_split, test=False if test else None)
        for split in test:
            if (of_test := _add(builder, spec, split, str(spec.test_split), test=True)) != classes:
                fault = f"the splits name different classes: {classes} and {of_test}"
                raise UserError(fault, file=spec.name, key=f"{KEY}.labels")
        builder.finish(classes)
        shutil.rmtree(scratch, ignore_errors=True)

    folder = cache / "corpora" / fingerprint
    make_once(folder, build)
    if not folder_given:
        sources = {spec.name: sha256(folder / "corpus.arrow")}
        fingerprint = fingerprint_of(fingerprint, sources)
    return open_corpus(folder, fingerprint, sources, observer)


def _files(folder: Path) -> list[Path]:
    """What is in it, hidden files (.git, .cache) aside."""
    inside = (file.relative_to(folder) for file in folder.rglob("*") if file.is_file())
    return [folder / file for file in sorted(inside) if not any(part.startswith(".") for part in file.parts)]


def _add(builder: Builder, spec: HubCorpus, table: Any, split: str, *, test: bool | None) -> dict[str, tuple[str, ...]]:
    """Hand a split's rows to the builder; the class names that the data set gives its label columns."""
    source = f"{spec.name} [{split}]"
    asked = [(spec.text, "text", Kind.text, f"{KEY}.text")]
    asked += [(name, f"label.{name}", Kind.name, f"{KEY}.labels") for name in spec.labels]
    asked += [(spec.client, "client", Kind.name, f"{KEY}.client")] if spec.client is not None else []
    columns = []
    for name, target, kind, key in asked:
        named = getattr(table.features.get(name), "names", None) or ()
        columns.append(Column(name, target, kind, key, tuple(named) if kind is Kind.name else ()))
        if name not in table.features:
            raise missing(columns[-1], table.features, source)
    builder.add(_chunks(table, columns, source), test=test, source=source)
    return {column.source: column.classes for column in columns if column.classes and column.target != "client"}


def _chunks(table: Any, columns: Sequence[Column], source: str) -> Iterator[Chunk]:
    rows = table.select_columns([*{column.source for column in columns}]).with_format("arrow")
    for number, batch in enumerate(rows.iter(ROWS)):
        origin = Origin(source, number * ROWS)
        yield Chunk({c.target: from_arrow(batch.column(c.source), c, origin) for c in columns}, origin)


def _splits(spec: HubCorpus, folder: Path, scratch: Path) -> list[Any]:
    """The wanted splits of a folder: what `save_to_disk` wrote, or data files that `datasets` knows."""
    import datasets

    wanted = _wanted(spec)
    saved = (folder / "dataset_dict.json").exists() or (folder / "state.json").exists()
    try:
        if not saved:
            return list(datasets.load_dataset(str(folder), spec.subset, split=wanted, cache_dir=str(scratch)))
        loaded = datasets.load_from_disk(str(folder))
    except Exception as error:
        raise _explained(spec, error) from error
    if isinstance(loaded, datasets.Dataset):
        loaded = {str(loaded.split or spec.train_split): loaded}
    for split, key in zip(wanted, ("train_split", "test_split"), strict=False):
        if split not in loaded:
            raise UserError(f"no split '{split}'; {choose(split, loaded)}{OR_NULL}", file=spec.name, key=f"{KEY}.{key}")
    return [loaded[split] for split in wanted]


def _fetched(spec: HubCorpus) -> list[Any]:
    """The wanted splits of a data set on the hub."""
    import datasets

    wanted = _wanted(spec)
    if not datasets.config.HF_HUB_OFFLINE and (cause := _unreachable(datasets.config.HF_ENDPOINT)):
        fault = f"{datasets.config.HF_ENDPOINT} cannot be reached ({cause}): {WITHOUT_HUB}"
        raise UserError(fault, file=spec.name, key=f"{KEY}.name")
    try:
        return list(datasets.load_dataset(spec.name, spec.subset, split=wanted))
    except Exception as error:
        raise _explained(spec, error) from error


def _wanted(spec: HubCorpus) -> list[str]:
    return [spec.train_split, *([] if spec.test_split is None else [spec.test_split])]


def _unreachable(endpoint: str) -> str:
    """Why the hub gives no answer at all; empty where it does."""
    from huggingface_hub import get_session

    causes = [f"no answer in {2 * CONNECT_S:.0f} s"]

    def ask() -> None:
        try:
            get_session().head(endpoint, timeout=CONNECT_S)
            causes.append("")
        except Exception as error:  # whatever it is, its text is the answer
            causes.append(str(error) or type(error).__name__)

    # A name server that does not answer is waited for beyond any timeout: hence a thread that may be left alone.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(2 * CONNECT_S)
    return causes[-1]


def _explained(spec: HubCorpus, error: Exception) -> UserError:
    """One message for the many ways in which `datasets` says no."""
    import datasets

    cause = error.__cause__ if isinstance(error, datasets.exceptions.DatasetGenerationError) else error
    reason = " ".join(str(cause or error).split())[:400] or type(error).__name__
    key, advice = "name", ""
    if isinstance(error, ConnectionError):
        advice = WITHOUT_HUB
    elif isinstance(error, datasets.exceptions.DatasetNotFoundError):
        advice = "check the name; a private or gated data set needs `hf auth login`"
    elif "split" in reason.lower():
        key, advice = ("test_split", OR_NULL[2:]) if f'"{spec.test_split}"' in reason else ("train_split", "")
    elif "config" in reason.lower():
        key = "subset"
    message = f"cannot be loaded: {reason}" + (f"; {advice}" if advice else "")
    return UserError(message, file=spec.name, key=f"{KEY}.{key}")
