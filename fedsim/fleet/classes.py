"""Device classes of one's own: a table like the catalogue's."""

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from fedsim.errors import UserError
from fedsim.fleet import catalog, table
from fedsim.fleet.catalog import DeviceClass
from fedsim.fleet.files import LIMITS

NEEDED = ("name", "flops_per_s", "memory_bytes", "compute_power_w")
PASSES = ("forward_flops_per_s", "backward_flops_per_s")
"""Speeds of the two passes, where they were measured apart."""
NUMBERS = ("flops_per_s", *PASSES, "memory_bytes", "compute_power_w")
COLUMNS = ("name", "description", *(f"{name}{end}" for name in NUMBERS for end in ("", "_source")))


def read(path: Path, key: str) -> Mapping[str, DeviceClass]:
    """The classes of a .csv or .parquet file, by name.

    Args:
        path: The file.
        key: The scenario's key that names it.

    Raises:
        UserError: It cannot be read; a column, a name or a value is wrong; or a name is one of the catalogue's.
    """
    found = table.read(path, key)
    found.check_columns(NEEDED, tuple(name for name in COLUMNS if name not in NEEDED))
    own = found.columns.column_names
    passes = [name for name in PASSES if name in own]
    if len(passes) == 1:
        fault = f"goes with {next(name for name in PASSES if name not in passes)}, which the file does not have"
        raise UserError(fault, file=path, key=passes[0])
    limits = {**LIMITS, **dict.fromkeys(PASSES, LIMITS["flops_per_s"])}
    values = {name: found.numbers(name, *limits[name], whole=name == "memory_bytes") for name in NUMBERS if name in own}
    codes, names = found.keys("name")
    texts = {
        name: ["" if text is None else str(text) for text in found.columns.column(name).to_pylist()]
        for name in own
        if name == "description" or name.endswith("_source")
    }
    classes: dict[str, DeviceClass] = {}
    for row, code in enumerate(codes.tolist()):
        name = names[code]
        if name in classes:
            raise found.bad_row(row, f"is '{name}' again: a name stands for one class", "name")
        if problem := check_name(name):
            raise found.bad_row(row, f"is '{name}': {problem}", "name")
        classes[name] = DeviceClass(
            name=name,
            description=texts["description"][row] if "description" in texts else "",
            flops_per_s=float(values["flops_per_s"][row]),
            memory_bytes=int(values["memory_bytes"][row]),
            compute_power_w=float(values["compute_power_w"][row]),
            sources={n.removesuffix("_source"): own[row] for n, own in texts.items() if n.endswith("_source")},
            forward_flops_per_s=float(values[PASSES[0]][row]) if passes else None,
            backward_flops_per_s=float(values[PASSES[1]][row]) if passes else None,
        )
    return MappingProxyType(classes)


def check_name(name: str) -> str | None:
    """What is wrong with the name of a class, if anything."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        return "a name consists of letters, digits, and _ . - between them"
    return "is a class of the catalogue: take another name" if name in catalog.devices() else None
