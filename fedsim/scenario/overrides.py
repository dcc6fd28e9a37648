"""`--set key.path=value`: a scenario changed from the command line."""

from typing import Any

from fedsim.errors import UserError
from fedsim.scenario.base import Key
from fedsim.scenario.marks import Document, Place, parse


def override(document: Document, assignment: str) -> None:
    """Write ``key.path=value`` into a document; the value is YAML. Unknown keys are left for validation to refuse.

    Raises:
        UserError: not an assignment, a value that is not YAML, or a path through something that is not a section.
    """
    place = Place(f"--set {assignment}")
    path, equals, text = assignment.partition("=")
    words = path.strip().split(".")
    if not equals or not all(words):
        raise UserError("write it as key.path=value, for instance model.layers=4", file=place.file)
    value = parse(text, lambda line: place)
    if value.repeated:
        key, _, _ = value.repeated[0]
        raise UserError(f"'{key[-1]}' is given twice", file=place.file)
    if isinstance(document.data, dict):
        key = _write(document, words, value.data, place)
        _forget(document, key)
        document.places |= {(*key, *below): place for below in value.places}


def _write(document: Document, words: list[str], value: Any, place: Place) -> Key:
    here: Any = document.data
    key: Key = ()
    while True:
        step, words = _step(here, words, key, place)
        key = (*key, step)
        if not words:
            here[step] = value
            return key
        below = _get(here, step)
        if below is None:
            below = here[step] = {}
            document.places[key] = place
        if not isinstance(below, dict | list):
            raise UserError(f"{'.'.join(map(str, key))} is a value, not a section", file=place.file)
        here = below


def _step(here: dict[str, Any] | list[Any], words: list[str], key: Key, place: Place) -> tuple[str | int, list[str]]:
    if isinstance(here, list):
        if not (words[0].isdecimal() and int(words[0]) < len(here)):
            name = ".".join(map(str, key))
            raise UserError(f"{name} is a list of {len(here)}: use an index from 0", file=place.file)
        return int(words[0]), words[1:]
    # A method's name may hold dots; the longest name that is there wins.
    for length in range(len(words), 0, -1):
        if (name := ".".join(words[:length])) in here:
            return name, words[length:]
    return words[0], words[1:]


def _get(here: Any, step: str | int) -> Any:
    return here.get(step) if isinstance(here, dict) else here[step]


def _forget(document: Document, key: Key) -> None:
    for old in [place for place in document.places if place[: len(key)] == key]:
        del document.places[old]
