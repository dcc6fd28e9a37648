"""Scenarios by name: those of the current folder first, then the shipped ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from fedsim.errors import UserError, choose

ENDINGS = (".yaml", ".yml")


@dataclass(frozen=True)
class Row:
    """A scenario as a listing shows it."""

    name: str
    """What `find` takes."""
    path: Path
    summary: str = ""
    clients: int = 0
    methods: tuple[str, ...] = ()
    error: str | None = None
    """Why it cannot be used; the other fields are then empty."""


def shipped() -> Path:
    """The folder of the scenarios that come with fedsim: inside the package, or beside it in a checkout."""
    package = Path(str(resources.files("fedsim")))
    installed = package / "scenarios"
    return installed if installed.is_dir() else package.parent / "scenarios"


def folders() -> tuple[Path, ...]:
    """Where a name is looked up: ./scenarios, then the shipped ones."""
    return Path("scenarios"), shipped()


def find(name_or_path: str, places: Sequence[Path] | None = None) -> Path:
    """The file of a scenario: a path if it looks like one, else a name in the first folder that has it.

    Raises:
        UserError: there is no such file, or no scenario of that name; says which names are near.
    """
    given, known = Path(name_or_path), _known(folders() if places is None else places)
    if given.suffix in ENDINGS or len(given.parts) > 1:
        if not given.is_file():
            hint = f"; did you mean the scenario '{given.stem}'?" if given.stem in known else ""
            raise UserError(f"there is no such file{hint}", file=given)
        return given
    if name_or_path not in known:
        names = choose(name_or_path, known) if known else "and there are no others"
        raise UserError(f"there is no scenario '{name_or_path}'; {names}")
    return known[name_or_path]


def listing(places: Sequence[Path] | None = None) -> list[Row]:
    """Every scenario that a name finds, sorted by name; a broken one comes with its error."""
    return [_row(name, path) for name, path in sorted(_known(folders() if places is None else places).items())]


def _known(places: Sequence[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for place in places:
        for path in sorted(place.glob("*")):
            if path.suffix in ENDINGS and path.is_file():
                found.setdefault(path.stem, path)
    return found


def _row(name: str, path: Path) -> Row:
    from fedsim.scenario.load import load  # not needed to find a file, and it takes the time of all methods

    try:
        scenario = load(path).scenario
    except UserError as error:
        return Row(name, path, error=str(error))
    return Row(name, path, scenario.summary, scenario.fleet.clients, tuple(scenario.methods))
