"""Types of the scenario's schema in words: what a key holds, what is allowed of it, and in which unit."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from fedsim.scenario.base import Config

WORDS = {bool: "true or false", int: "whole number", float: "number", str: "text", Path: "path", NoneType: "null"}
UNITS = {
    r"(^|_)bits_per_s$": "bit/s",
    r"(^|_)g_per_kwh$": "g/kWh",
    r"(^|_)per_s$": "1/s",
    r"_s$": "s",
    r"_h$": "h",
    r"flops$": "FLOP",
    r"^bits$": "bits",
    r"(^|_)rounds?$|^cycle$|^client_part_sync_every$": "rounds",
    r"^steps$|_steps$|^max_staleness$": "steps",
    r"tokens$": "tokens",
    r"samples(_per_client)?$|^median$|^most$": "samples",
    r"^clients(_per_round)?$|_clients$|^concurrency$|^quorum$|^candidates$": "clients",
    r"batches$": "batches",
    r"^epochs$": "epochs",
    r"layers$|^depths$|^boundaries$": "layers",
    r"^min_characters$": "characters",
}
"""Units by a key's name; the first pattern that fits counts. Numbers of other names have none."""
LENGTHS = ("min_length", "max_length")
BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def said(annotation: Any, metadata: Sequence[Any] = ()) -> tuple[str, str]:
    """A type in words, and what is allowed of it: ``("whole number or null", "≥ 1")``."""
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return said(inside[0], [*metadata, *_flat(inside[1:])])
    if origin is Literal:
        kind = "word" if all(isinstance(value, str) for value in inside) else "number"
        return kind, ", ".join(f"`{value}`" for value in inside)
    allowed = ", ".join(_bounds(metadata, "characters" if annotation is str else "entries"))
    if origin in (Union, UnionType):
        told = [said(part) for part in inside]
        types = list(dict.fromkeys(type_ for type_, _ in told))
        return " or ".join(types), "; ".join(dict.fromkeys(filter(None, (allowed, *(each for _, each in told)))))
    if origin is tuple:
        type_, each = said(inside[0])
        return f"list: {type_}", "; ".join(filter(None, (allowed, each and f"each {each}")))
    if origin is dict:
        type_, each = said(inside[1])
        return f"names with {type_}", "; ".join(filter(None, (allowed, each and f"each {each}")))
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return "section", allowed
    return WORDS[annotation], allowed


def unit_of(name: str) -> str:
    """The unit of a number, from its key's name; empty: it has none."""
    return next((unit for pattern, unit in UNITS.items() if re.search(pattern, name)), "")


def parts(annotation: Any) -> Iterator[Any]:
    """Every type that a type is made of."""
    if inside := get_args(annotation):
        for part in inside:
            yield from parts(part)
    else:
        yield annotation


def _flat(metadata: Sequence[Any]) -> Iterator[Any]:
    for item in metadata:
        yield from item.metadata if isinstance(item, FieldInfo) else (item,)


def _bounds(metadata: Sequence[Any], counted: str) -> Iterator[str]:
    """What the bounds of a type say; lengths are numbers of what is `counted`."""
    least, most = (
        next((n for item in metadata if (n := getattr(item, name, None)) is not None), None) for name in LENGTHS
    )
    if least is not None and least == most:
        yield f"{least} {counted}"
    elif least == 1:
        yield "not empty"
    elif least is not None:
        yield f"at least {least} {counted}"
    if most is not None and least != most:
        yield f"at most {most} {counted}"
    for item in metadata:
        yield from (f"{sign} {getattr(item, bound):g}" for bound, sign in BOUNDS.items() if hasattr(item, bound))
        if getattr(item, "pattern", None):
            yield f"`{item.pattern}`"
