"""The `data` section: which text, which tokens, and whose it is."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, Strict

from fedsim.scenario.base import Config, Count, Positive, Problem, Rate, Text, Whole
from fedsim.scenario.corpus import (
    COLUMNLESS,
    DOCSTRING_LIBRARIES,
    Corpus,
    DeclaredCorpus,
    DocstringCorpus,
    FileCorpus,
    HubCorpus,
)

__all__ = [
    "DOCSTRING_LIBRARIES",
    "Corpus",
    "Data",
    "DeclaredCorpus",
    "DirichletPartition",
    "DocstringCorpus",
    "FileCorpus",
    "HubCorpus",
    "IidPartition",
    "NaturalPartition",
    "Partition",
    "QuantityPartition",
    "RepeatedPartition",
    "Tokenizer",
]


class Tokenizer(Config):
    """How text becomes tokens."""

    kind: Literal["wordpiece", "byte_bpe", "checkpoint"] = "wordpiece"
    """`wordpiece` and `byte_bpe` are trained on the training text; `checkpoint` loads one."""
    vocabulary: Annotated[int, Strict(), Field(ge=300)] = 8000
    """Entries of a trained vocabulary."""
    checkpoint: Text | None = None
    """Folder or hub name to load the tokenizer from (kind `checkpoint`)."""

    def problems(self) -> Iterator[Problem]:
        """A tokenizer is either trained or loaded."""
        if self.kind == "checkpoint" and self.checkpoint is None:
            yield Problem(("checkpoint",), "is required with kind: checkpoint")
        if self.kind != "checkpoint" and self.checkpoint is not None:
            yield Problem(("checkpoint",), f"goes with kind: checkpoint, kind is {self.kind}")
        if self.kind == "checkpoint" and self.changed("vocabulary"):
            yield Problem(("vocabulary",), "comes from the checkpoint: remove it")


class NaturalPartition(Config):
    """Clients as the data names them (a module, an author); the fleet is drawn from those large enough."""

    kind: Literal["natural"] = "natural"
    min_samples: Count = 1
    """Clients with fewer training samples are left out."""


class IidPartition(Config):
    """Samples dealt out at random in equal shares."""

    kind: Literal["iid"] = "iid"
    min_samples: Count = 1
    """Smallest shard allowed; fewer is an error."""


class DirichletPartition(Config):
    """Label shares of each client drawn from Dirichlet(alpha * global shares) (Hsu et al. 2019, section 3)."""

    kind: Literal["dirichlet"] = "dirichlet"
    alpha: Positive
    """Concentration: 0.1 is very unequal, 100 nearly even."""
    label: Text
    """The label column whose shares differ between clients."""
    min_samples: Count = 1
    """Every client gets at least this many samples."""


class QuantityPartition(Config):
    """Same mix of data for all, unequal amounts."""

    kind: Literal["quantity"] = "quantity"
    sigma: Positive | None = None
    """Spread of log-normal shard sizes."""
    shares: tuple[Positive, ...] | None = None
    """Explicit shares, one a client; they are normalised."""
    min_samples: Count = 1
    """Every client gets at least this many samples."""

    def problems(self) -> Iterator[Problem]:
        """Amounts are either drawn or listed."""
        if self.sigma is None and self.shares is None:
            yield Problem(("sigma",), "give either `sigma` or `shares`")
        if self.sigma is not None and self.shares is not None:
            yield Problem(("shares",), "give either `sigma` or `shares`, not both")


class RepeatedPartition(Config):
    """Fleets larger than the corpus: it is dealt again, in another order, whenever it has run out.

    No client has a sample twice, several clients have the same ones, and every sample is as frequent as the others.
    """

    kind: Literal["repeated"] = "repeated"
    samples: Count
    """Samples of each client; with `sigma` their median."""
    sigma: Positive | None = None
    """Spread of log-normal shard sizes; null: all have the same."""
    min_samples: Count = 1
    """Every client gets at least this many samples."""

    def problems(self) -> Iterator[Problem]:
        """The median is no less than the least."""
        if self.samples < self.min_samples:
            yield Problem(("samples",), f"is {self.samples}, min_samples asks for at least {self.min_samples}")


Partition = Annotated[
    NaturalPartition | IidPartition | DirichletPartition | QuantityPartition | RepeatedPartition,
    Field(discriminator="kind"),
]


class Data(Config):
    """Which text, which tokens, and whose it is."""

    corpus: Corpus = DocstringCorpus()
    """Where the text comes from."""
    tokenizer: Tokenizer = Tokenizer()
    """How text becomes tokens; not used by tokenised files and declared data."""
    partition: Partition = IidPartition()
    """How training samples are dealt to clients."""
    max_tokens: Annotated[int, Strict(), Field(ge=3)] = 128
    """Longer samples are cut to this many tokens, special tokens included."""
    padding: Literal["longest", "max"] = "longest"
    """A batch is padded to its longest sample, rounded up to a multiple of 8, or (`max`) always to `max_tokens`."""
    central_fraction: Rate = 0.0
    """Share of the training samples that belongs to nobody and is kept for central pre-training."""
    max_samples_per_client: Whole = 0
    """Larger shards keep this many samples, drawn at random; 0: no limit."""

    @property
    def has_text(self) -> bool:
        """The corpus is text, which a tokenizer turns into tokens."""
        corpus = self.corpus
        return not (isinstance(corpus, DeclaredCorpus) or (isinstance(corpus, FileCorpus) and corpus.tokenised))

    @property
    def sequence_labels(self) -> tuple[str, ...] | None:
        """Names with one label a sample; None: any name will do (declared data)."""
        match self.corpus:
            case DocstringCorpus():
                return ("kind", "library")
            case FileCorpus(labels=labels) | HubCorpus(labels=labels):
                return labels
            case DeclaredCorpus():
                return None

    @property
    def token_labels(self) -> tuple[str, ...] | None:
        """Names with tags over the tokens; None: any name will do (declared data)."""
        match self.corpus:
            case DocstringCorpus():
                return ("names",)
            case FileCorpus(tags=tags):
                return () if tags is None else (tags,)
            case HubCorpus():
                return ()
            case DeclaredCorpus():
                return None

    def problems(self) -> Iterator[Problem]:
        """Corpus, tokenizer and partition fit together."""
        if not self.has_text and self.changed("tokenizer"):
            yield Problem(("tokenizer",), "is not used: this corpus has tokens already")
        smallest = self.partition.min_samples
        if 0 < self.max_samples_per_client < smallest:
            yield Problem(
                ("max_samples_per_client",),
                f"is {self.max_samples_per_client}, partition.min_samples asks for at least {smallest}",
            )
        if isinstance(self.corpus, DeclaredCorpus):
            yield from self._declared_problems(self.corpus)
        else:
            yield from self._partition_problems()

    def _declared_problems(self, corpus: DeclaredCorpus) -> Iterator[Problem]:
        if not isinstance(self.partition, IidPartition):
            yield Problem(
                ("partition",), "is not used: declared data says how many samples each client has; remove the section"
            )
        for name in ("central_fraction", "max_samples_per_client"):
            if self.changed(name):
                yield Problem((name,), "is not used by declared data: remove it")
        if corpus.tokens > self.max_tokens:
            yield Problem(("max_tokens",), f"is {self.max_tokens}, less than corpus.tokens ({corpus.tokens})")

    def _partition_problems(self) -> Iterator[Problem]:
        corpus, partition = self.corpus, self.partition
        if isinstance(partition, NaturalPartition):
            key = ("partition", "kind")
            if isinstance(corpus, FileCorpus | HubCorpus) and corpus.client is None:
                yield Problem(key, "natural needs corpus.client, the column that names the client")
            elif isinstance(corpus, FileCorpus) and corpus.formats() & COLUMNLESS:
                yield Problem(key, "natural needs a client column; .txt and .conll files have none")
        elif isinstance(partition, DirichletPartition):
            labels = self.sequence_labels or ()
            if partition.label not in labels:
                allowed = f"allowed: {', '.join(labels)}" if labels else "there are none: list it in corpus.labels"
                yield Problem(("partition", "label"), f"unknown label '{partition.label}'; {allowed}")
