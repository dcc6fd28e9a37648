"""The `data.corpus` section: where text comes from."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Strict, Tag

from fedsim.scenario.base import Config, Count, Flag, Fraction, Positive, Problem, Text

DOCSTRING_LIBRARIES = (
    "stdlib",
    "numpy",
    "pandas",
    "torch",
    "transformers",
    "ray",
    "datasets",
    "sympy",
    "networkx",
)

FileFormat = Literal["jsonl", "csv", "parquet", "text", "conll"]
FILE_ENDINGS: dict[str, FileFormat] = {
    ".jsonl": "jsonl",
    ".csv": "csv",
    ".parquet": "parquet",
    ".txt": "text",
    ".conll": "conll",
}
COLUMNLESS: frozenset[FileFormat] = frozenset({"text", "conll"})
"""Formats without named columns: no client, no labels."""


def repeated(items: Sequence[str]) -> list[str]:
    """Items that occur again, in order."""
    return [item for index, item in enumerate(items) if item in items[:index]]


class DocstringCorpus(Config):
    """Docstrings of installed Python packages, read from their source: real English, nothing to download.

    A client is a module. Labels: `kind` and `library` (sequence classification), `names` (token classification).
    """

    kind: Literal["docstrings"] = "docstrings"
    libraries: Annotated[tuple[Text, ...], Field(min_length=1)] = DOCSTRING_LIBRARIES
    """Packages to read; `stdlib` is Python's own library."""
    min_characters: Count = 40
    """Docstrings with less prose than this are left out."""
    test_fraction: Fraction = 0.1
    """Share of the docstrings held out for tests, chosen by a hash of the text."""

    def problems(self) -> Iterator[Problem]:
        """Nothing is read twice."""
        for name in repeated(self.libraries):
            yield Problem(("libraries",), f"'{name}' is listed twice")


class FileCorpus(Config):
    """Text of your own, or columns that are tokenised already."""

    kind: Literal["files"] = "files"
    train: tuple[Path, ...] = Field(min_length=1)
    """Training files: .jsonl, .csv, .parquet, .txt (one sample a line) or .conll; relative to the scenario."""
    test: tuple[Path, ...] = ()
    """Held-out files; empty: `test_fraction` of the training samples, chosen by a hash of the content."""
    format: Literal["auto", FileFormat] = "auto"
    """File format; `auto` goes by the file name's ending."""
    text: Text = "text"
    """Column with the text."""
    client: Text | None = "client"
    """Column that says whose sample it is; null: no natural clients. It must exist where it is named here."""
    labels: tuple[Text, ...] = ()
    """Columns with one label a sample, each a sequence-classification task of that name."""
    tags: Text | None = None
    """CoNLL: the name to give the token-classification task read from the last column (BIO tags)."""
    tokenised: Flag = False
    """Columns `input_ids` (and, where given, `attention_mask`, `labels`) are used as they are."""
    test_fraction: Fraction = 0.1
    """Share held out when `test` is empty."""

    def unsaid(self) -> frozenset[str]:
        """A client column that is named must be there, the default one may be absent."""
        return frozenset({"client"})

    def formats(self) -> set[FileFormat]:
        """The known formats of the files."""
        return {known for path in (*self.train, *self.test) if (known := self.format_of(path)) is not None}

    def format_of(self, path: Path) -> FileFormat | None:
        """The format a file is read in; None: its ending is not known and `format` is `auto`."""
        return FILE_ENDINGS.get(path.suffix.lower()) if self.format == "auto" else self.format

    def problems(self) -> Iterator[Problem]:
        """Every file is of a known format, is named once, and has what is asked of it."""
        lists = {"train": self.train, "test": self.test}
        for key, paths in lists.items():
            for index, path in enumerate(paths):
                if self.format_of(path) is None:
                    yield Problem(
                        (key, index),
                        f"the ending of '{path}' names no format; set `format`, or use: {', '.join(FILE_ENDINGS)}",
                    )
                elif path in paths[:index]:
                    yield Problem((key, index), f"'{path}' is listed twice")
                elif key == "test" and path in self.train:
                    yield Problem((key, index), f"'{path}' is a training file too: it cannot be held out")
        if self.test and self.changed("test_fraction"):
            yield Problem(("test_fraction",), "is not used where `test` lists files: remove one of them")
        formats = self.formats()
        if self.tags is not None and formats - {"conll"}:
            yield Problem(("tags",), "tags are read from .conll files only")
        if self.tags is None and "conll" in formats:
            yield Problem(("tags",), "is required for .conll files: a name of your choice for their tags")
        if self.labels and formats & COLUMNLESS:
            yield Problem(("labels",), "label columns are read from .jsonl, .csv and .parquet files only")
        if self.tokenised and formats - {"jsonl", "parquet"}:
            yield Problem(("tokenised",), "lists of token ids are read from .jsonl and .parquet files only")
        for name in repeated(self.labels):
            yield Problem(("labels",), f"'{name}' is listed twice")


class HubCorpus(Config):
    """A Hugging Face data set by name, or a local folder that `datasets` can load."""

    kind: Literal["hub"] = "hub"
    name: Text
    """Name on the hub, or a path to a data set folder."""
    subset: Text | None = None
    """Configuration name of the data set."""
    train_split: Text = "train"
    """Split to train on."""
    test_split: Text | None = "test"
    """Split to test on; null: `test_fraction` of the training split."""
    text: Text = "text"
    """Column with the text."""
    client: Text | None = None
    """Column that says whose sample it is; null: no natural clients."""
    labels: tuple[Text, ...] = ()
    """Columns with one label a sample."""
    test_fraction: Fraction = 0.1
    """Share held out when `test_split` is null."""

    def problems(self) -> Iterator[Problem]:
        """What is held out is said once."""
        if self.test_split == self.train_split:
            yield Problem(("test_split",), f"'{self.test_split}' is the training split too: it cannot be held out")
        if self.test_split is not None and self.changed("test_fraction"):
            yield Problem(("test_fraction",), "is not used where there is a test split: set `test_split: null`")
        for name in repeated(self.labels):
            yield Problem(("labels",), f"'{name}' is listed twice")


class Spread(Config):
    """Log-normal numbers of samples, at least one a client."""

    median: Count
    """Of the fleet."""
    sigma: Positive
    """Spread: the standard deviation of their logarithms."""
    most: Count | None = None
    """Larger numbers become this one; null: no limit."""

    def problems(self) -> Iterator[Problem]:
        """The median is not cut off."""
        if self.most is not None and self.most < self.median:
            yield Problem(("most",), f"is {self.most}, less than the median ({self.median})")


def _sizes_kind(value: Any) -> str:
    if isinstance(value, dict | Spread):
        return "spread"
    return "many" if isinstance(value, list | tuple) else "one"


class DeclaredCorpus(Config):
    """No text at all: sample counts and token lengths, enough for price mode."""

    kind: Literal["declared"] = "declared"
    samples_per_client: Annotated[
        Annotated[Count, Tag("one")] | Annotated[tuple[Count, ...], Tag("many")] | Annotated[Spread, Tag("spread")],
        Discriminator(_sizes_kind),
    ]
    """Samples of each client: one number for all, one number a client, or drawn for each."""
    tokens: Annotated[int, Strict(), Field(ge=3)]
    """Tokens of every sample, special tokens included."""
    classes: Annotated[int, Strict(), Field(ge=2)] = 2
    """Number of labels of the task to fine-tune on."""


Corpus = Annotated[
    DocstringCorpus | FileCorpus | HubCorpus | DeclaredCorpus,
    Field(discriminator="kind"),
]
