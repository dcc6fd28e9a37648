"""Exact entity labels for the names in a docstring's prose."""

import re
from bisect import bisect_right
from operator import itemgetter

from fedsim.data.docstring_source import Scope
from fedsim.data.prose import Prose

TYPES = ("argument", "class", "function", "exception", "module")
Span = tuple[int, int, int]

# A dotted name; not part of a path, an option or an e-mail address.
_DOTTED = re.compile(r"(?<![\w.@\\/-])[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*(?!@)")
_WORD = re.compile(r"[A-Za-z][a-z]*|[A-Z]+")
_CALL = re.compile(r"\((?!e?s\))")
_FILE_ENDINGS = {"py", "pyi", "c", "h", "cpp", "txt", "json", "md", "yaml", "rst", "html"}


def mentions(prose: Prose, scope: Scope, arguments: frozenset[str]) -> list[Span]:
    """(start, end, index into TYPES) of every name, ascending and without overlap.

    A name is a whole word that is an argument of what is described, or a class, function, exception or module of the
    scope, in this order of precedence. One that could be an ordinary English word or symbol (`data`, `axis`, `Series`,
    `G`: all lower case, capitalised or all capitals) counts only where the text leaves no doubt: marked up as code, at
    the head of an entry in a list of definitions, called (`copy()`), or in a dotted name. Others (`max_iter`,
    `DataFrame`) count everywhere, unless they stand in quotation marks.
    """
    text = prose.text
    spans: list[Span] = []
    for match in _DOTTED.finditer(text):
        start, end = match.span()
        parts = match[0].split(".")
        quoted = start > 0 and text[start - 1] in "'\"" and text[end : end + 1] in ("'", '"')
        if quoted or (len(parts) > 1 and parts[-1] in _FILE_ENDINGS):
            continue
        marked, head = _inside(prose.code, start, end), _inside(prose.heads, start, end)
        called = _CALL.match(text, end) is not None
        if parts[0] in arguments and (marked or head or not _ordinary(parts[0])):
            spans.append((start, start + len(parts[0]), TYPES.index("argument")))
        else:
            spans += _defined(parts, start, scope, marked, called)
    return spans


def _inside(ranges: tuple[tuple[int, int], ...], start: int, end: int) -> bool:
    index = bisect_right(ranges, start, key=itemgetter(0)) - 1
    return index >= 0 and end <= ranges[index][1]


def _defined(parts: list[str], start: int, scope: Scope, marked: bool, called: bool) -> list[Span]:
    """The mentions, other than of arguments, in one dotted name that begins at `start`."""
    spans: list[Span] = []
    if len(parts) > 1:
        own = ".".join(parts[:-1]) == scope.name
        prefixes = (count for count in range(len(parts), 0, -1) if ".".join(parts[:count]) in scope.modules)
        count = len(parts) - 1 if own else next(prefixes, 0)
        if count:
            length = len(".".join(parts[:count]))
            spans.append((start, start + length, TYPES.index("module")))
            if not own:
                return spans  # what another module defines is not known here
            parts, start = parts[count:], start + length + 1
    certain = marked or bool(spans)
    for position, part in enumerate(parts):
        called_here = called and position == len(parts) - 1
        kind = _kind(part, scope, alone=len(parts) == 1 and not spans)
        if kind and (certain or called_here or not _ordinary(part)):
            spans.append((start, start + len(part), TYPES.index(kind)))
        certain = marked or kind == "class" or part == "self"
        start += len(part) + 1
    return spans


def _kind(name: str, scope: Scope, alone: bool) -> str | None:
    if name in scope.classes:
        return "class"
    if name in scope.exceptions:
        return "exception"
    if name in scope.functions:
        return "function"
    return "module" if alone and name in scope.modules else None


def _ordinary(name: str) -> bool:
    """Whether a name could be an English word, an abbreviation or a symbol."""
    return _WORD.fullmatch(name) is not None or not name.strip("_")
