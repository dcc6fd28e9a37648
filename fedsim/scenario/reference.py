"""Every key of a scenario as one Markdown page, made from the schema itself.

``python -m fedsim.scenario.reference FILE`` writes it.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_origin

import yaml
from pydantic.fields import FieldInfo

from fedsim.scenario.base import Config
from fedsim.scenario.meanings import meanings
from fedsim.scenario.schema import Scenario
from fedsim.scenario.words import parts, said, unit_of

INTRODUCTION = """# Every key of a scenario

Made from the schema that scenarios are checked with, so it has every key that there is; [scenarios](../scenarios.md)
shows them at work. A key that is not here is refused. *required* stands where there is no default; a section that is
left out has the defaults of its keys. Where there are several kinds of a section, its key `kind` says which one it is,
and with it which other keys it has. `NAME` stands for a name of your choice, `[]` for an entry of a list. Times are in
seconds, sizes in bytes, rates in bit/s, and a share is a number from 0 to 1.
"""


@dataclass(frozen=True)
class Section:
    """A table of the page: the keys of a class of the schema at a place in the scenario."""

    path: str
    config: type[Config]
    kind: str = ""
    """Of several alternatives, this one; empty: there is one."""
    owner: str = ""
    """The kind of the section around it that has such a key, where not all of them do."""
    shared: tuple[type[Config], ...] = ()
    """Classes whose keys are listed once for several alternatives, and so not here."""
    heirs: tuple[type[Config], ...] = ()
    """Of such a class: the alternatives that have its keys."""

    @property
    def anchor(self) -> str:
        """What links name."""
        return re.sub(r"[^a-z0-9]+", "-", f"key-{self.path}-{self.kind or self.config.__name__}".lower()).strip("-")

    @property
    def title(self) -> str:
        """The heading's text."""
        if self.heirs:
            return f"`{self.path}`: {re.split('[:;]', self.summary)[0]}"
        of = f" of `{self.owner}`" if self.owner else ""
        return (f"`{self.path}`{of}" if self.path else "The file") + (f", kind `{self.kind}`" if self.kind else "")

    @property
    def summary(self) -> str:
        """What it is, in one line."""
        return _paragraphs(self.config)[0].partition(". ")[0].rstrip(".")

    def listed(self) -> Iterator[tuple[str, FieldInfo]]:
        """The keys to list here, with what the schema knows of them."""
        for name, field in self.config.model_fields.items():
            if name == "kind" and self.kind:
                continue  # the heading says it
            elsewhere = (_inherited(name, self.config, base) for base in self.shared)
            needed = (_inherited(name, heir, self.config) for heir in self.heirs)
            if not any(elsewhere) and (not self.heirs or any(needed)):
                yield name, field


def sections(config: type[Config] = Scenario) -> list[Section]:
    """The tables of the page, every class of the schema once, in the order of the scenario's keys."""
    found: list[Section] = []
    _collect([Section("", config)], found)
    return found


def text() -> str:
    """The whole page."""
    found = sections()
    places = {section.config: section for section in reversed(found)}
    return "\n".join([INTRODUCTION, *(_table(section, places) for section in found)])


def _collect(alternatives: Sequence[Section], found: list[Section]) -> None:
    """Add these, then what lies below each; a class that has been met is not listed again."""
    fresh = [one for one in alternatives if all(one.config is not other.config for other in found)]
    for base in dict.fromkeys(base for one in fresh for base in one.shared):
        if all(base is not other.config for other in found):
            above = tuple(parent for parent in base.__mro__[1:] if parent in fresh[0].shared)
            heirs = tuple(one.config for one in fresh if issubclass(one.config, base))
            _add(Section(fresh[0].path, base, shared=above, heirs=heirs), found)
    for one in fresh:
        _add(one, found)


def _add(section: Section, found: list[Section]) -> None:
    found.append(section)
    for name, field in section.listed():
        path = f"{section.path}.{name}".lstrip(".")
        path += ".NAME" if path == "methods" else "[]" if get_origin(field.annotation) is tuple else ""
        below = [part for part in dict.fromkeys(parts(field.annotation)) if _is_section(part)]
        owner = section.kind or section.owner
        if len(below) > 1 and all("kind" in config.model_fields for config in below):
            shared = _shared(below)
            _collect([Section(path, one, str(one.model_fields["kind"].default), owner, shared) for one in below], found)
        else:
            _collect([Section(path, one, owner=owner) for one in below], found)


def _shared(alternatives: Sequence[type[Config]]) -> tuple[type[Config], ...]:
    """Classes with keys that several of them inherit."""
    bases = [
        base for one in alternatives for base in one.__mro__[1:] if issubclass(base, Config) and base is not Config
    ]
    return tuple(base for base in dict.fromkeys(bases) if bases.count(base) > 1 and base not in alternatives)


def _inherited(name: str, config: type[Config], base: type[Config]) -> bool:
    """A class has a key of another one as that one has it."""
    if name not in base.model_fields or not issubclass(config, base):
        return False
    own, above = config.model_fields[name], base.model_fields[name]
    return (own.annotation, own.metadata, repr(own.default), meanings(config)[name]) == (
        above.annotation,
        above.metadata,
        repr(above.default),
        meanings(base)[name],
    )


def _is_section(part: object) -> bool:
    return isinstance(part, type) and issubclass(part, Config)


def _table(section: Section, places: dict[type[Config], Section]) -> str:
    level = "##" if "." not in section.path and not section.kind else "###"
    lines = [f"{level} {section.title} {{ #{section.anchor} }}"]
    for paragraph in _paragraphs(section.config):
        lines += ["", paragraph]
    lines.append("")
    rows = []
    for name, field in section.listed():
        below = [places[part] for part in parts(field.annotation) if part in places]
        kinds = ", ".join(f"[`{one.kind or one.path}`](#{one.anchor})" for one in dict.fromkeys(below))
        type_, allowed = said(field.annotation, field.metadata)
        default = "*required*" if field.is_required() else _default(field)
        unit = unit_of(name) if re.search(r"number", type_) else ""
        meaning = " ".join(meanings(section.config)[name].split()).replace("|", "\\|")
        rows.append(
            f"| `{name}` | {type_} | {unit} | {default} | {'; '.join(filter(None, (allowed, kinds)))} | {meaning} |"
        )
    if rows:
        lines += ["| key | type | unit | default | allowed | meaning |", "|---|---|---|---|---|---|", *rows, ""]
    if also := [
        places[base] for base in section.shared if issubclass(section.config, base) and base is not section.config
    ]:
        links = "; ".join(f"[{one.summary}](#{one.anchor})" for one in also)
        lines += [f"{'Also' if rows else 'No keys of its own, but'}: {links}.", ""]
    elif not rows:
        lines += ["No keys of its own.", ""]
    return "\n".join(lines)


def _paragraphs(config: type[Config]) -> list[str]:
    return [" ".join(part.split()) for part in (config.__doc__ or "").split("\n\n")]


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if isinstance(value, Config):
        kind = getattr(value, "kind", None)
        return f"`{{kind: {kind}}}`" if kind and len(list(parts(field.annotation))) > 1 else "of its keys"
    plain = list(value) if isinstance(value, tuple) else str(value) if isinstance(value, Path) else value
    return f"`{yaml.safe_dump(plain, default_flow_style=True, width=10**6).removesuffix('...' + chr(10)).strip()}`"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(text(), encoding="utf-8")
