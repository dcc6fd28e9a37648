"""What the documentation says, taken apart: links, code blocks, commands, tables."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`\n]+)`")
COMMAND = "python -m fedsim"


def name(page: Path) -> str:
    """A page's path as a test's name."""
    return str(page.relative_to(ROOT))


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def blocks(page: Path, language: str) -> list[str]:
    """The code blocks of a language."""
    return [body for found, body in _FENCE.findall(page.read_text(encoding="utf-8")) if found == language]


def links(page: Path) -> list[str]:
    """Targets of links and pictures that lie in this repository."""
    return [target for target in _LINK.findall(prose(page)) if not re.match(r"\w+:", target)]


def mentions(page: Path) -> list[str]:
    """Words in code type that look like a path in this repository."""
    folders = "fedsim|tests|docs|scenarios|notebooks|benchmarks"
    words = (word for text in _CODE.findall(prose(page)) for word in text.split())
    return [word for word in words if re.fullmatch(rf"(?:{folders})/[\w./-]*", word)]


def commands(page: Path) -> list[list[str]]:
    """Arguments of every `python -m fedsim` in console blocks and in code type."""
    lines = [line.removeprefix("$ ") for block in blocks(page, "console") for line in block.splitlines()]
    lines = [line.removeprefix(".venv/bin/") for line in lines]
    lines += _CODE.findall(prose(page))
    found = [line for line in lines if line == COMMAND or line.startswith(f"{COMMAND} ")]
    return [shlex.split(line, comments=True)[3:] for line in found]


def anchors(page: Path) -> set[str]:
    """What links may name after `#`, as GitHub makes it of headings."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@dataclass(frozen=True)
class Table:
    """A Markdown table: its header's cells, and those of each row."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def tables(page: Path) -> Iterator[Table]:
    """The tables of a page."""
    for lines in re.findall(r"(?:^\|.*\|\n)+", prose(page), re.MULTILINE):
        header, _, *rows = (tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines.splitlines())
        yield Table(header, tuple(rows))
