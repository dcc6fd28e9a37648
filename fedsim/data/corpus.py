"""What every source of text is turned into."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import datasets


@dataclass(frozen=True)
class Corpus:
    """Samples and what is known of them.

    Columns of the table: `text` (str), `test` (bool), and where known `client` (str), `label.<name>`
    (`datasets.ClassLabel`) and `spans.<name>` (a list of {start, end, type}: characters of `text`, and an index into
    `tags[name]`).
    Tokenised data has `input_ids` (list of int32), and where given `labels` (list of int32, -100 is not predicted),
    in place of `text`.
    """

    read: Callable[[], "datasets.Dataset"]
    fingerprint: str
    """SHA-256 over the content and what it was made from."""
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Class names of every label column."""
    tags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Entity types of every span column."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Where it came from: package versions, or file hashes."""
    tokenised: bool = False

    @cached_property
    def table(self) -> "datasets.Dataset":
        """The samples, memory-mapped; who finds their tokens in the cache needs neither them nor `datasets`."""
        return self.read()
