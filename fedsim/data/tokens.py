"""Tokenised samples as numpy arrays, memory-mapped: what every host reads."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fedsim.data.cached import make_once
from fedsim.data.saved import booleans, numbers, offsets, open_batch
from fedsim.errors import UserError
from fedsim.observe.observer import Observer
from fedsim.scenario.data import Data, DocstringCorpus, FileCorpus, HubCorpus

if TYPE_CHECKING:
    import pyarrow as pa

    from fedsim.data.corpus import Corpus


@dataclass(frozen=True, eq=False)
class Ragged:
    """Lists of unequal lengths, end to end: list `i` is ``values[offsets[i]:offsets[i + 1]]``."""

    values: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> npt.NDArray[np.int32]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    def __iter__(self) -> Iterator[npt.NDArray[np.int32]]:
        return (self[index] for index in range(len(self)))

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """[lists]: the length of each."""
        return np.diff(self.offsets)


@dataclass(frozen=True, eq=False)
class Tokens:
    """Every sample of a corpus, train and test, as token ids."""

    ids: Ragged
    """Token ids, special tokens included."""
    test: npt.NDArray[np.bool_]
    """[samples]: held out."""
    client: npt.NDArray[np.int32] | None
    """[samples]: index into `clients`, -1 where a sample belongs to nobody; None: the data names no clients."""
    clients: tuple[str, ...]
    labels: dict[str, npt.NDArray[np.int32]]
    """[samples] each: index into the class names, -1 where a sample has none."""
    label_names: dict[str, tuple[str, ...]]
    tags: dict[str, Ragged]
    """Aligned with `ids`: 0 is O, 1 + 2k is B and 2 + 2k is I of entity type k, -100 stands at special tokens."""
    tag_names: dict[str, tuple[str, ...]]
    """Names of the tags, e.g. ("O", "B-argument", "I-argument")."""
    targets: Ragged | None
    """Labels for MLM that came with tokenised data, aligned with `ids`; -100 is not predicted."""
    vocabulary: int
    pad: int
    cls: int
    sep: int
    mask: int
    """Ids of special tokens; -1 where tokenised data has not said."""
    fingerprint: str
    """SHA-256 over the content."""

    @classmethod
    def open(cls, folder: Path) -> "Tokens":
        """Memory-map what `prepare` left in `folder`; reads no sample and imports no large library."""
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        batch = open_batch(folder / "samples")
        columns = set(batch.schema.names)
        return cls(
            ids=_ragged(batch["input_ids"]),
            test=booleans(batch["test"]),
            client=numbers(batch["client"]) if "client" in columns else None,
            clients=tuple(meta["clients"]),
            labels={name: numbers(batch[f"label.{name}"]) for name in meta["labels"]},
            label_names={name: tuple(names) for name, names in meta["labels"].items()},
            tags={name: _ragged(batch[f"tags.{name}"]) for name in meta["tags"]},
            tag_names={name: tuple(names) for name, names in meta["tags"].items()},
            targets=_ragged(batch["targets"]) if "targets" in columns else None,
            **{name: meta[name] for name in ("vocabulary", "pad", "cls", "sep", "mask", "fingerprint")},
        )


def _ragged(column: "pa.LargeListArray") -> Ragged:
    return Ragged(numbers(column.values), offsets(column))


def prepare(data: Data, base: Path, cache: Path, observer: Observer) -> Path:
    """The tokens of a scenario: corpus, tokenizer, then one folder for `Tokens.open`, built on first use.

    Args:
        data: The `data` section of the scenario.
        base: Folder that the scenario's relative paths start from.
        cache: Folder for corpora, tokenizers and tokens, by content; any number of processes may share it.
        observer: Shown progress, and told what is left out.

    Returns:
        The folder: `samples` (for `datasets.load_from_disk`), `tokenizer` (for `AutoTokenizer`), `meta.json`.

    Raises:
        UserError: The corpus or the tokenizer cannot be had, or nothing is left to train on.
    """
    from fedsim.data import tokenise

    corpus = _corpus(data, base, cache, observer)
    spec = data.tokenizer
    if spec.checkpoint is not None and (base / spec.checkpoint).is_dir():
        spec = spec.model_copy(update={"checkpoint": str((base / spec.checkpoint).resolve())})
    folder = cache / "tokens" / tokenise.identity(corpus, spec, data.max_tokens)
    make_once(folder, lambda empty: tokenise.build(empty, corpus, spec, data.max_tokens, cache, observer))
    return folder


def _corpus(data: Data, base: Path, cache: Path, observer: Observer) -> "Corpus":
    if isinstance(data.corpus, DocstringCorpus):
        from fedsim.data import docstrings

        return docstrings.load(data.corpus, cache, observer)
    if isinstance(data.corpus, FileCorpus):
        from fedsim.data import files

        return files.load(data.corpus, base, cache, observer)
    if isinstance(data.corpus, HubCorpus):
        from fedsim.data import hub

        return hub.load(data.corpus, base, cache, observer)
    raise UserError("declared data has no text to train on: use price mode, or another corpus", key="data.corpus.kind")
