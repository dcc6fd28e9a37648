"""The prose of a docstring: what is left when code, tables, directives and mark-up are taken away.

Works for the three styles in use (reStructuredText with numpydoc sections, Google style, Markdown), line by line,
then inside each paragraph. What an author marked up as code is remembered as ranges of the plain text.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_OPEN, _CLOSE = "\x02", "\x03"  # stand around what was marked up as code until the text is final
_HEAD, _TAIL = "\x04", "\x05"  # the same around the heads of definitions
_NEUTRAL = f" _:{_OPEN}{_CLOSE}{_HEAD}{_TAIL}"
_CONTROL = dict.fromkeys((*range(9), *range(11, 32), 127), " ")

_DIRECTIVE = re.compile(r"\.\. ?([\w:+-]+) ?::\s*(.*)")
_ADMONITIONS = {
    *("note", "warning", "seealso", "tip", "caution", "important", "attention", "danger", "hint", "topic", "rubric"),
    *("versionadded", "versionchanged", "deprecated"),
}
_FIELD = re.compile(r":(\w+)(?: ([^:`]*))?:(?:\s+(.*)|$)")
_ABOUT = {"param", "parameter", "arg", "argument", "keyword", "kwarg", "raise", "raises"}
_RULE = re.compile(r"([=\-~^\"'#*+_.`])\1{2,}:?")
_TABLE = re.compile(r"[=-]{2,}(?: +[=-]{2,})+")
_DRAWN = ("+-", "+=", *"|│├└┌╭╰")
_BULLET = re.compile(r"^[-*•+] +(?=\S)")
_NAME = r"\*{0,2}[A-Za-z_]\w*"
_DEFINITION = re.compile(rf"({_NAME}(?: *, *{_NAME})*)(?= *(?:\(.*\) *)?(?::|--|\u2013|\u2014)(?:\s|$)| - )")
_CODE = re.compile(
    r"(?:import |from [\w.]+ import |(?:async )?def \w+\(|class \w+[(:]|@\w|return\b[^.]*$|(?:for|if|while|with) .*:$"
    r"|[$#%>] |[-\w.\[\]'\", ]+ (?:=|\+=|->) \S|[\w.]+\(.*\)$|[\])}]|[\w'\"]+=\S+,?$)"
)
_HEADER = re.compile(
    r"(?:(?:(?:optional|keyword|other|additional) )?(?:args?|arguments?|parameters?|params?)|returns?|yields?|raises?"
    r"|(?:basic |typical )?(?:examples?|usage)(?: usage)?|notes?|warnings?|attributes|methods|inputs?|outputs?|todo"
    r"|see also|references?|shape):{1,2}",
    re.IGNORECASE,
)
_LISTS = {"references", "reference", "see also", "authors"}  # sections that name things without saying anything


@dataclass(frozen=True)
class Prose:
    """Plain text on one line, and [start, end) ranges of it.

    `code` is what the author had marked up as code; `heads` are the names that entries in lists of definitions begin
    with (``axis : int``, ``axis (int): ...``, ``:param axis:``).
    """

    text: str
    code: tuple[tuple[int, int], ...]
    heads: tuple[tuple[int, int], ...]


def extract(docstring: str) -> Prose:
    """Reduce a docstring (indentation removed) to its prose."""
    paragraphs = (lines for lines in _paragraphs(docstring.translate(_CONTROL)) if not _is_code(lines))
    kept = filter(_reads_like_prose, (_plain(" ".join(lines)) for lines in paragraphs))
    text = " ".join(" ".join(kept).split())
    pieces: list[str] = []
    ranges: dict[str, list[tuple[int, int]]] = {_OPEN: [], _HEAD: []}
    opened: dict[str, int] = {}
    length = 0
    for piece in re.split(f"([{_OPEN}-{_TAIL}])", text):
        if piece in (_OPEN, _HEAD):
            opened[piece] = length
        elif piece in (_CLOSE, _TAIL):
            kind = _OPEN if piece == _CLOSE else _HEAD
            start = opened.pop(kind, length)
            if start < length:
                ranges[kind].append((start, length))
        else:
            pieces.append(piece)
            length += len(piece)
    return Prose("".join(pieces), tuple(ranges[_OPEN]), tuple(ranges[_HEAD]))


def _paragraphs(docstring: str) -> Iterator[list[str]]:
    """Runs of consecutive lines, code and structure left out."""
    lines = [*(line.rstrip() for line in docstring.expandtabs().splitlines()), ""]
    paragraph: list[str] = []
    fenced = in_block = in_list = False
    body_of: int | None = None  # indentation of a line whose more indented body is dropped
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        stripped = line.lstrip()
        indent = len(line) - len(stripped)
        if stripped.startswith("```"):
            fenced = not fenced and not stripped[3:].endswith("```")
            stripped = ""
        elif fenced or (body_of is not None and (not stripped or indent > body_of)):
            continue
        body_of = None
        if not stripped:
            if paragraph:
                yield paragraph
            paragraph, in_block = [], False
        elif in_block or stripped.startswith((">>>", "In [")):
            in_block = True  # a doctest with its output, like a table, ends at a blank line
        elif _TABLE.fullmatch(stripped):
            paragraph, in_block = [], True
        elif _RULE.fullmatch(stripped) or stripped.startswith(_DRAWN):
            continue
        elif _RULE.fullmatch(following.strip()) and len(stripped) <= 80 and not stripped.endswith((".", ",")):
            in_list = stripped.rstrip(":").lower() in _LISTS  # a title; its section lasts until the next one
        elif not in_list:
            text, drops_body = _line(stripped)
            body_of = indent if drops_body else None
            if text:
                paragraph.append(_mark_heads(text))


def _line(line: str) -> tuple[str, bool]:
    """What a line says, without its mark-up, and whether the more indented lines below it are to be dropped."""
    if line.startswith(".. ") or line == "..":
        directive = _DIRECTIVE.match(line)
        if directive is None or directive[1].lower() not in _ADMONITIONS:
            return "", True
        return ("" if directive[1].startswith(("version", "deprecated")) else directive[2]), False
    if field := _FIELD.match(line):
        name, argument, rest = field[1].lower(), field[2] or "", field[3] or ""
        if name in ("return", "returns"):
            return rest, False
        return (f"{argument.split()[-1]}: {rest}", False) if name in _ABOUT and argument.strip() else ("", True)
    if _HEADER.fullmatch(line):
        return "", line.endswith("::") or line.rstrip(":").lower() in _LISTS
    line = _BULLET.sub("", line, count=1)
    if line.endswith("::"):
        line = line[:-2].rstrip()
        return (f"{line}:" if line else ""), True
    return line, False


def _mark_heads(line: str) -> str:
    """Mark the names that a definition begins with: ``axis : int``, ``axis (int): ...``, ``x, y -- ...``."""
    definition = _DEFINITION.match(line)
    if definition is None:
        return line
    return re.sub(r"\w+", rf"{_HEAD}\g<0>{_TAIL}", definition[1]) + line[definition.end() :]


def _is_code(lines: list[str]) -> bool:
    """Whether more than half of the lines look like code."""
    return 2 * sum(_CODE.match(line) is not None for line in lines) > len(lines)


def _reads_like_prose(paragraph: str) -> bool:
    """Whether at least 70 % of the characters are letters, or stand between words or in definitions."""
    letters = sum(character.isalpha() or character in _NEUTRAL for character in paragraph)
    return letters >= 0.7 * len(paragraph)


def _marked(code: str) -> str:
    return "" if re.search(r"\\[A-Za-z]{2}", code) else f"{_OPEN}{code.strip()}{_CLOSE}"  # LaTeX cannot be read aloud


def _formula(content: str) -> str:
    """A formula short and simple enough to be read, or nothing."""
    return content if not re.search(r"[\\{}]", content) and len(content) <= 40 else ""


def _role(match: re.Match[str]) -> str:
    role, content = match[1].rpartition(":")[2], match[2]
    if role == "math":
        return _formula(content)
    if titled := re.fullmatch(r"(.+?)\s*<[^<>]+>", content, re.DOTALL):
        content = titled[1]
    if role in ("ref", "doc", "term", "rfc", "pep", "paper", "dfn"):
        return content if " " in content or role != "ref" else ""
    return _reference(content)


def _reference(target: str) -> str:
    """A cross-reference as it would be shown: ``~a.b.c`` is short for ``c``."""
    return _marked(target.rpartition(".")[2].lstrip("~") if target.startswith("~") else target.lstrip("!."))


def _single(match: re.Match[str]) -> str:
    """Content of single backticks: code, or the text of a link when an underscore follows."""
    content = re.sub(r"\s*<[^<>]*>$", "", match[1]) if match[2] else match[1]
    return content if match[2] else _reference(content)


def _emphasis(match: re.Match[str]) -> str:
    # Python's own documentation writes *name* for an argument.
    return _marked(match[1]) if match[1].isidentifier() else match[1]


_INLINE = (
    (re.compile(r"(?<=`)\\ ?|\\ "), ""),
    (re.compile(r":([\w:+.-]+):`([^`]+)`"), _role),
    (re.compile(r"\[`([^`\]]+)`\](?:\([^()\s]*\))?"), lambda match: _reference(match[1])),
    (re.compile(r"\[([^\[\]]+)\]\([^()\s]*(?:\([^()\s]*\))?[^()\s]*\)"), r"\1"),
    (re.compile(r"``(.+?)``"), lambda match: _marked(match[1].replace("`", ""))),
    (re.compile(r"(?<![\w`])`(?=\S)([^`]{1,200})(?<=\S)`(?!`)(__?\b)?"), _single),
    (re.compile(r"\$\$?([^$]{1,200})\$\$?"), lambda match: _formula(match[1])),
    (re.compile(r"<?\b(?:https?|ftp)://[^\s<>)\]]+[^\s<>)\].,;:]>?"), ""),
    (re.compile(r"\s*\[\w+\]_+"), ""),
    (re.compile(r"(?<![\w*])\*{1,2}(?=[^\s*])([^*]{1,80}?)(?<=[^\s(,])\*{1,2}(?![\w*])"), _emphasis),
    (
        re.compile(
            r"</?(?:Tip|Added|Changed|Deprecated|br|p|b|i|hfoptions?|ul|li|a|em|strong|sup|sub|code|pre|div|span|kbd)\b[^<>]*>"
        ),
        "",
    ),
    (re.compile(r"`|(?<=\s)\(\s*\)(?=[\s.,;:]|$)"), ""),
    (re.compile(r" +(?=[,;](?:\s|$)|\.(?:\s|$))"), ""),
)


def _plain(paragraph: str) -> str:
    """Take the mark-up inside a paragraph away."""
    for pattern, replacement in _INLINE:
        paragraph = pattern.sub(replacement, paragraph)
    return paragraph
