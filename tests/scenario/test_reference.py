"""The reference page has every key of the schema, with what the JSON Schema of the same scenario says of it."""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from fedsim.scenario.base import Config, Count, Fraction, Positive, Text
from fedsim.scenario.editor import json_schema
from fedsim.scenario.reference import Section, sections, text
from fedsim.scenario.words import said, unit_of

PAGE = text()
CLASSES = {section.config.__name__: section for section in sections()}
CELLS = re.compile(r"(?<!\\)\|")


def rows(section: Section) -> dict[str, tuple[str, ...]]:
    """Key: type, unit, default, allowed, meaning."""
    body = PAGE.split(f"{{ #{section.anchor} }}\n")[1].split("\n#")[0]
    cells = (
        tuple(cell.strip() for cell in CELLS.split(line)[1:-1]) for line in body.splitlines() if line.startswith("| `")
    )
    return {key.strip("`"): tuple(rest) for key, *rest in cells}


def properties() -> Iterator[tuple[str, str, dict[str, Any], bool]]:
    schema = json_schema()
    for name, definition in [("Scenario", schema), *schema["$defs"].items()]:
        for key, described in definition.get("properties", {}).items():
            yield name, key, described, key in definition.get("required", [])


def listed(name: str, key: str) -> tuple[str, ...]:
    """The row of a key, in the table of its class or in one that this table sends its reader to."""
    own = CLASSES[name]
    tables = [own, *(CLASSES[base.__name__] for base in own.shared if issubclass(own.config, base))]
    return next(found[key] for found in map(rows, tables) if key in found)


def test_every_key_is_there_with_its_meaning_and_default() -> None:
    seen = 0
    for name, key, described, required in properties():
        if key == "kind" and CLASSES[name].kind:
            assert f"kind `{described['const']}`" in CLASSES[name].title
            continue
        _, _, default, _, meaning = listed(name, key)
        # where a section says of itself what its key says of it, the JSON Schema has that once
        told = described.get("description") or json_schema()["$defs"][described["$ref"].split("/")[-1]]["description"]
        assert meaning.replace("\\|", "|") == " ".join(told.split()), (name, key)
        assert (default == "*required*") == required, (name, key)
        if isinstance(described.get("default"), int | float) and not isinstance(described["default"], bool):
            assert float(default.strip("`")) == described["default"], (name, key)
        seen += 1
    assert seen > 300


def test_every_word_that_may_be_chosen_is_there() -> None:
    for name, key, described, _ in properties():
        words = [word for part in (described, *described.get("anyOf", ())) for word in part.get("enum", ())]
        if words:
            assert all(f"`{word}`" in listed(name, key)[3] for word in words), (name, key)


def test_links_lead_to_a_heading_and_headings_differ() -> None:
    anchors = re.findall(r"\{ #([\w-]+) \}$", PAGE, re.MULTILINE)
    assert len(anchors) == len(set(anchors))
    assert set(re.findall(r"\]\(#([\w-]+)\)", PAGE)) <= set(anchors)


def test_keys_that_say_their_unit_have_it() -> None:
    """Seconds, hours, bits a second: the ending of a name is a promise, so a new key cannot slip through."""
    endings = {
        "_s": {"s", "bit/s", "1/s"},
        "_h": {"h"},
        "_per_s": {"bit/s", "1/s"},
        "_rounds": {"rounds"},
        "_tokens": {"tokens"},
    }
    for section in CLASSES.values():
        for key, (kind, unit, *_) in rows(section).items():
            for ending, units in endings.items():
                assert not key.endswith(ending) or "number" not in kind or unit in units, (section.title, key)
    assert rows(CLASSES["ServerLink"])["uplink_bits_per_s"][1] == "bit/s"
    assert rows(CLASSES["Dropout"])["per_s"][1] == "1/s"


class Inner(Config):
    """Inside."""


@pytest.mark.parametrize(
    ("annotation", "type_", "allowed"),
    [
        (bool, "true or false", ""),
        (Count, "whole number", "≥ 1"),
        (Fraction | None, "number or null", "> 0, < 1"),
        (Text, "text", "not empty"),
        (Literal["a", "b"], "word", "`a`, `b`"),
        (tuple[Count, ...], "list: whole number", "each ≥ 1"),
        (Annotated[tuple[int, ...], Field(min_length=2, max_length=2)], "list: whole number", "2 entries"),
        (Annotated[dict[str, Positive], Field(min_length=1)], "names with number", "not empty; each > 0"),
        (Annotated[str, Field(min_length=2, max_length=9)], "text", "at least 2 characters, at most 9 characters"),
        (Inner | None, "section or null", ""),
    ],
)
def test_types_in_words(annotation: Any, type_: str, allowed: str) -> None:
    assert said(annotation) == (type_, allowed)


def test_units_in_words() -> None:
    assert [unit_of(key) for key in ("deadline_s", "downlink_bits_per_s", "epochs", "seed")] == [
        "s",
        "bit/s",
        "epochs",
        "",
    ]
