"""Device classes of one's own, written to a table that scenarios can name."""

import csv
import io
from pathlib import Path

from fedsim.errors import UserError
from fedsim.fleet.catalog import DeviceClass
from fedsim.fleet.classes import COLUMNS, NUMBERS, PASSES, check_name, read
from fedsim.store.atomic import write_bytes


def check(name: str, path: Path, replace: bool) -> dict[str, DeviceClass]:
    """The classes that a file has before one of this name is added; told early, since measuring takes its time.

    Raises:
        UserError: The name is taken or no name, or the file is no such table.
    """
    if path.suffix.lower() != ".csv":
        raise UserError(f"must end in .csv, given '{path}'", key="--out")
    if problem := check_name(name):
        raise UserError(f"'{name}' {problem}", key="--class")
    before = dict(read(path, "--out")) if path.exists() else {}
    if name in before and not replace:
        raise UserError(f"the file has a class '{name}' already: take another name, or --replace", file=path)
    if any(known.forward_flops_per_s is None for known in before.values()):
        raise UserError(f"its classes lack {' and '.join(PASSES)}: take another file", file=path, key="--out")
    return before


def add(one: DeviceClass, path: Path, replace: bool = False) -> None:
    """Write a class, its two passes measured apart, at the end of a .csv file; where there is none, one is made.

    Args:
        one: The class.
        path: The file.
        replace: Put it in the place of the class of this name, if there is one.

    Raises:
        UserError: See `check`.
    """
    before = check(one.name, path, replace)
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(row, (before | {one.name: one}).values()))
    write_bytes(path, out.getvalue().encode())


def row(one: DeviceClass) -> dict[str, str]:
    """A class as a row of the table."""
    # repr: a number that is read again is the same to the last bit
    numbers = {name: repr(getattr(one, name)) for name in NUMBERS}
    sources = {f"{name}_source": one.sources.get(name, "") for name in NUMBERS}
    return {"name": one.name, "description": one.description, **numbers, **sources}
