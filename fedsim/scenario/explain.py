"""Validation errors in the user's words: which key, what was wanted, what was given."""

import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from fedsim.errors import choose
from fedsim.scenario.base import PROBLEMS, Config, Key, Problem
from fedsim.scenario.meanings import meanings

WANTED = {
    "int_type": "an integer",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "path_type": "a path",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping of keys",
    "model_attributes_type": "a mapping of keys",
    "finite_number": "a finite number",
}
BOUNDS = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}


def explain(error: ValidationError, root: type[Config]) -> Iterator[Problem]:
    """One problem for every mistake that validation found in the input for `root`."""
    for detail in error.errors(include_url=False):
        spot = _follow(root, detail["loc"])
        if detail["type"] == PROBLEMS:
            for problem in detail["ctx"]["problems"]:
                yield Problem((*spot.key, *problem.key), problem.message)
        elif detail["type"] != "too_short" or len(detail["input"]) < detail["ctx"]["min_length"]:
            # pydantic counts valid entries only: a list with a wrong one would be called too short as well.
            yield _problem(detail, spot)


@dataclass(frozen=True)
class _Spot:
    """A place in the input, and what the schema says of it."""

    key: Key
    expected: Any
    """The type wanted there; None: a key that the schema does not know."""
    parent: Any
    """The type around it."""


def _follow(root: type[Config], loc: Sequence[str | int]) -> _Spot:
    """Walk the schema along an error's location, which names the chosen member of a union as if it were a key."""
    spot = _Spot((), root, None)
    for part in loc:
        here = spot.expected
        if part == "[key]":
            break
        if len(members := _members(here)) > 1:
            chosen = next((m for m in members if _tag(m) == part), None)
            spot = _Spot(spot.key, _bare(chosen), spot.parent)
            continue
        inner: Any = None
        if isinstance(here, type) and issubclass(here, Config):
            field = here.model_fields.get(str(part))
            inner = None if field is None else _bare(field.annotation)
        elif get_origin(here) is dict:
            inner = _bare(get_args(here)[1])
        elif get_origin(here) is tuple:
            inner = _bare(get_args(here)[0])
        spot = _Spot((*spot.key, part), inner, here)
    return spot


def _bare(kind: Any) -> Any:
    """A type without its constraints and without None."""
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) in (Union, types.UnionType):
        rest = [member for member in get_args(kind) if member is not types.NoneType]
        return _bare(rest[0]) if len(rest) == 1 else kind
    return kind


def _members(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else ()


def _tag(member: Any) -> str:
    if get_origin(member) is Annotated:
        return str(get_args(member)[-1].tag)
    return str(member.model_fields["kind"].default)


def _problem(detail: ErrorDetails, spot: _Spot) -> Problem:
    given, context = detail["input"], detail.get("ctx", {})
    match detail["type"]:
        case "extra_forbidden":
            return Problem(spot.key, f"unknown key; {choose(str(spot.key[-1]), spot.parent.model_fields)}")
        case "missing":
            return Problem(spot.key, f"is required{_meaning(spot)}")
        case "literal_error":
            return Problem(spot.key, f"unknown value {_shown(given)}; {_choices(given, get_args(spot.expected))}")
        case "union_tag_not_found":
            return _without_kind(spot)
        case "union_tag_invalid":
            tag, kinds = context["tag"], map(_tag, _members(spot.expected))
            return Problem((*spot.key, "kind"), f"unknown kind {_shown(tag)}; {_choices(tag, kinds)}")
        case "string_pattern_mismatch":
            text = f"only letters, digits, '_', '.' and '-', starting with a letter or digit; given {_shown(given)}"
            return Problem(spot.key, text)
        case "string_too_short":
            return Problem(spot.key, "must not be empty")
        case "too_short":
            return Problem(spot.key, f"needs at least {_counted(context['min_length'])}, given {_counted(len(given))}")
        case "too_long":
            return Problem(spot.key, f"takes at most {_counted(context['max_length'])}, given {_counted(len(given))}")
        case kind if kind in BOUNDS:
            word, name = BOUNDS[kind]
            return Problem(spot.key, f"must be {word} {context[name]:g}, given {given}")
        case "model_attributes_type" if given is None and _is_method(spot):
            return _without_kind(spot)
        case kind if kind in WANTED:
            return Problem(spot.key, f"wanted {WANTED[kind]}, given {_shown(given)}{_remedy(kind, given, spot)}")
        case _:
            return Problem(spot.key, f"{detail['msg']}, given {_shown(given)}")


def _without_kind(spot: _Spot) -> Problem:
    kinds = sorted(map(_tag, _members(spot.expected)))
    if _is_method(spot):
        name = str(spot.key[1])
        near = get_close_matches(name, kinds, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        return Problem(spot.key, f"'{name}' is not a method, so it needs a `kind`; {hint}allowed: {', '.join(kinds)}")
    return Problem((*spot.key, "kind"), f"is required; allowed: {', '.join(kinds)}")


def _is_method(spot: _Spot) -> bool:
    return len(spot.key) == 2 and spot.key[0] == "methods"


def _choices(given: object, allowed: Any) -> str:
    allowed = list(allowed)
    if all(isinstance(value, int) for value in allowed):  # numbers by size, where words go by the alphabet
        return f"allowed: {', '.join(map(str, sorted(allowed)))}"
    return choose(given if isinstance(given, str) else "", map(str, allowed))


def _remedy(kind: str, given: object, spot: _Spot) -> str:
    if kind == "string_type" and isinstance(given, bool | int | float):
        return ": put it in quotes"
    kinds = [_tag(member) for member in _members(spot.expected)]
    if kind == "model_attributes_type" and isinstance(given, str) and given in kinds:
        return f": write {{kind: {given}}}"
    return f"; `kind` is one of: {', '.join(sorted(kinds))}" if kinds else _meaning(spot)


def _meaning(spot: _Spot) -> str:
    if not (isinstance(spot.parent, type) and issubclass(spot.parent, Config)):
        return ""
    sentence = " ".join(meanings(spot.parent).get(str(spot.key[-1]), "").split()).removesuffix(".")
    return f" ({sentence})" if sentence else ""


def _counted(number: int) -> str:
    return f"{number} {'entry' if number == 1 else 'entries'}"


def _shown(value: object) -> str:
    match value:
        case None:
            return "nothing (null)"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"the number {value}"
        case str():
            return f"'{value if len(value) <= 60 else value[:57] + '...'}'"
        case list() | tuple():
            return "a list"
        case _:
            return "a mapping"
