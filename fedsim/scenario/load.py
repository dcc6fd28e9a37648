"""From a file and the command line's overrides to a scenario, or to every mistake in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from fedsim.errors import UserError
from fedsim.scenario.base import Key, dotted
from fedsim.scenario.explain import explain
from fedsim.scenario.marks import Place, read
from fedsim.scenario.overrides import override
from fedsim.scenario.schema import Scenario


@dataclass(frozen=True)
class Loaded:
    """A scenario and where it came from."""

    scenario: Scenario
    path: Path
    """The file, as it was named."""
    text: str
    """What the file says, without overrides."""
    overrides: tuple[str, ...] = ()

    @property
    def base(self) -> Path:
        """The folder that paths in the scenario are relative to (absolute)."""
        return self.path.resolve().parent


def load(path: Path, overrides: Sequence[str] = ()) -> Loaded:
    """Read and check a scenario.

    Args:
        path: a YAML file.
        overrides: assignments such as ``model.layers=4``, applied in order.

    Raises:
        UserError: with every mistake found, one a line; its file, line and key are those of the first.
    """
    document, text = read(path)
    for assignment in overrides:
        override(document, assignment)
    faults: list[tuple[Place, Key, str]] = [(place, key, message) for key, place, message in document.repeated]
    try:
        scenario = Scenario.model_validate(document.data)
    except ValidationError as error:
        faults += [(document.place(problem.key), *problem) for problem in explain(error, Scenario)]
    if faults:
        raise _together(faults)
    return Loaded(scenario, path, text, tuple(overrides))


def locate(loaded: Loaded, error: UserError) -> UserError:
    """A mistake that was found after loading, with the place in the scenario where its key was written."""
    if error.file is not None or error.key is None or error.key.split(".")[0] not in Scenario.model_fields:
        return error
    document, _ = read(loaded.path)
    for assignment in loaded.overrides:
        override(document, assignment)
    around = [key for key in document.places if key and f"{error.key}.".startswith(f"{dotted(key)}.")]
    place = document.places[max(around, key=len)] if around else Place(str(loaded.path))
    return UserError(error.message, file=place.file, line=place.line, key=error.key)


def _together(faults: list[tuple[Place, Key, str]]) -> UserError:
    """All mistakes in one error, those of the file in its order first."""
    faults = sorted(faults, key=lambda fault: (fault[0].line is None, fault[0].line or 0))
    errors = [UserError(message, file=at.file, line=at.line, key=dotted(key) or None) for at, key, message in faults]
    first, *rest = errors
    message = "\n".join([first.message, *map(str, rest)])
    return UserError(message, file=first.file, line=first.line, key=first.key)
