"""Checkpoints of one method: one folder a round, complete or absent, with the sums that prove it.

`round-000012/` holds `arrays.safetensors`, `meta.json` and `SHA256SUMS` (`sha256sum -c` reads it). The last two
are kept, so that a damaged one costs a few rounds and not the run.
"""

import json
import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fedsim.errors import FedsimError, UserError
from fedsim.store import atomic
from fedsim.store.atomic import Array

FORMAT_VERSION = 2
_ARRAYS, _META, _SUMS = "arrays.safetensors", "meta.json", "SHA256SUMS"
_FOLDER = re.compile(r"round-(\d{6,})")


@dataclass(frozen=True)
class CheckpointState:
    """All that a method needs to go on after `round`."""

    round: int
    """Last finished round."""
    arrays: Mapping[str, Array]
    """Weights by group, versions by client ...; their order is kept."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    """Anything that JSON holds: clock, trace state, counters. NaN and infinity survive; tuples come back as lists."""
    notes: tuple[str, ...] = ()
    """What `load_latest` cleared or passed over, one line each, for the user; never saved."""


class Spacing:
    """Keeps checkpoints apart in real time; saves happen inside of ``with spacing:``.

    However large they are, they take at most a twentieth of the time. Results do not depend on when they are made.
    """

    least_s = 2.0
    """Shortest time between two of them."""

    def __init__(self) -> None:
        self._next_s = time.monotonic() + self.least_s
        self._began_s = 0.0

    @property
    def due(self) -> bool:
        """It is time for another one."""
        return time.monotonic() >= self._next_s

    def __enter__(self) -> None:
        self._began_s = time.monotonic()

    def __exit__(self, *_: object) -> None:
        now = time.monotonic()
        self._next_s = now + max(self.least_s, 20 * (now - self._began_s))


def save(folder: Path, state: CheckpointState) -> None:
    """Write `folder/round-NNNNNN` and then drop all but it and the newest one before it.

    Raises:
        FedsimError: The disk refused; the checkpoints there are intact.
    """
    target = folder / f"round-{state.round:06d}"
    with atomic.replacing(target) as temporary:
        temporary.mkdir()
        atomic.dump_tensors(temporary / _ARRAYS, state.arrays)
        meta = {"format_version": FORMAT_VERSION, "round": state.round, "meta": dict(state.meta)}
        (temporary / _META).write_text(json.dumps(meta))
        (temporary / _SUMS).write_text("".join(f"{_sum(temporary, name)}\n" for name in (_ARRAYS, _META)))
    before = [path for number, path in _found(folder) if number < state.round]
    for _, path in _found(folder):
        # One of a later round belongs to a line of rounds that was given up when this one was gone back to.
        if path != target and path not in before[:1]:
            shutil.rmtree(path, ignore_errors=True)


def load_latest(folder: Path) -> CheckpointState | None:
    """The newest sound checkpoint, with notes on what was cleared or passed over; None where there is none at all.

    Raises:
        FedsimError: There are checkpoints, and none of them is sound.
        UserError: The newest one was written by a newer fedsim, or by one that is too old.
    """
    if not folder.is_dir():
        return None
    notes = list(atomic.remove_stray(folder))
    found = _found(folder)
    for number, path in found:
        try:
            state = _load(path, number)
        except (OSError, ValueError) as error:
            notes.append(f"checkpoint {path} is damaged and was passed over: {error}")
        else:
            return replace(state, notes=tuple(notes))
    if found:
        raise FedsimError("no checkpoint can be read:\n" + "\n".join(notes))
    return None


def _found(folder: Path) -> list[tuple[int, Path]]:
    named = ((_FOLDER.fullmatch(path.name), path) for path in folder.iterdir())
    return sorted(((int(match[1]), path) for match, path in named if match), reverse=True)


def _sum(folder: Path, name: str) -> str:
    return f"{atomic.sha256(folder / name)}  {name}"


def _load(path: Path, number: int) -> CheckpointState:
    sums = (path / _SUMS).read_text().splitlines()
    for name in (_ARRAYS, _META):
        if _sum(path, name) not in sums:
            raise ValueError(f"{name} does not have the content that {_SUMS} lists")
    stored = json.loads((path / _META).read_text())
    if stored["format_version"] > FORMAT_VERSION:
        raise UserError("this checkpoint was written by a newer fedsim: upgrade fedsim", file=path)
    if stored["format_version"] < FORMAT_VERSION:
        raise UserError("this checkpoint was written by an older fedsim: go on with that one, or start anew", file=path)
    if stored["round"] != number:
        raise ValueError(f"it is of round {stored['round']}")
    return CheckpointState(number, atomic.read_tensors(path / _ARRAYS), stored["meta"])
