"""CoNLL files: one token a line, columns by white space, entities as B-/I-/O tags in the last column."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import pyarrow as pa

from fedsim.data.columns import Chunk, Column, Origin
from fedsim.data.readers import ROWS, lines
from fedsim.errors import UserError

BLANK = " \t\r\n"
"""Other white space, such as a no-break space, may belong to a token."""

Span = tuple[int, int, str]
SPANS = pa.list_(pa.struct([("start", pa.int32()), ("end", pa.int32()), ("type", pa.string())]))


class Conll:
    """Sentences apart by blank lines; the text of a sample is its tokens joined by one space.

    Both usual schemes are read: a span starts at a B- tag (IOB2), and at an I- tag that does not follow a tag of its
    own type (IOB1). `-DOCSTART-` lines are skipped.
    """

    def __init__(self, file: Path, tags: str) -> None:
        self.file, self.tags = file, tags

    def columns(self) -> Mapping[str, bool]:
        """The columns of a CoNLL file have no names."""
        return {}

    def chunks(self, columns: Sequence[Column]) -> Iterator[Chunk]:
        """A thousand sentences at a time: `text` and `spans.<tags>`."""
        sentences = self._sentences()
        while batch := list(islice(sentences, ROWS)):
            read = {
                "text": pa.array([" ".join(tokens) for _, tokens, _ in batch]),
                f"spans.{self.tags}": pa.array([spans(tokens, tags) for _, tokens, tags in batch], SPANS),
            }
            yield Chunk(read, Origin(self.file, lines=[number for number, _, _ in batch]))

    def _sentences(self) -> Iterator[tuple[int, list[str], list[str]]]:
        tokens: list[str] = []
        tags: list[str] = []
        width = start = 0
        for number, line in lines(self.file):
            fields = line.strip(BLANK).replace("\t", " ").split(" ")
            fields = [field for field in fields if field]
            if not fields or fields[0] == "-DOCSTART-":
                if tokens:
                    yield start, tokens, tags
                    tokens, tags = [], []
                continue
            width = width or len(fields)
            self._check(fields, width, number)
            start = start if tokens else number
            tokens.append(fields[0])
            tags.append(fields[-1])
        if tokens:
            yield start, tokens, tags

    def _check(self, fields: list[str], width: int, number: int) -> None:
        if width < 2:
            fault = "1 column; a CoNLL line has a token, white space and, last, a tag"
            raise UserError(fault, file=self.file, line=number)
        if len(fields) != width:
            fault = f"{len(fields)} columns, the lines above have {width}: a token must not contain white space"
            raise UserError(fault, file=self.file, line=number)
        tag = fields[-1]
        if tag != "O" and not (tag[:2] in ("B-", "I-") and len(tag) > 2):
            fault = f"unknown tag '{tag}'; allowed: O, B-TYPE, I-TYPE (turn BIOES and BILOU tags into BIO ones)"
            raise UserError(fault, file=self.file, line=number, key="data.corpus.tags")


def spans(tokens: Sequence[str], tags: Sequence[str]) -> list[Span]:
    """Entities as (start, end, type), in characters of the tokens joined by one space."""
    found: list[Span] = []
    start, inside = 0, ""
    for token, tag in zip(tokens, tags, strict=True):
        end = start + len(token)
        kind = tag[2:]
        if kind and kind == inside and tag[0] == "I":
            found[-1] = (found[-1][0], end, kind)
        elif kind:
            found.append((start, end, kind))
        inside, start = kind, end + 1
    return found
