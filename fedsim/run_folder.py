"""A run's folder: one process holds it, it says what the run is, and a mistake leaves none behind."""

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from fedsim import __version__
from fedsim.errors import UserError, not_a_run
from fedsim.fleet.devices import Fleet
from fedsim.scenario.identity import fingerprint
from fedsim.scenario.schema import Scenario
from fedsim.store import atomic
from fedsim.store.lock import RunLock
from fedsim.world import World

SCENARIO, IDENTITY, WORLD, SUMMARY = "scenario.json", "identity.json", "world.json", "run.json"
NUMBERS = {
    *("quality", "tokens", "real_tokens"),
    *(f"{part}{name}" for name in ("upload_bytes", "download_bytes") for part in ("", "wasted_")),
    *(f"{part}flops_{name}" for name in ("forward", "backward") for part in ("", "wasted_")),
    *(f"{part}server_flops_{name}" for name in ("forward", "backward") for part in ("", "wasted_")),
    *("device_seconds", "wasted_device_seconds", "energy_j", "simulated_seconds", "rounds", "clients_trained"),
}
"""What a summary says of every method, and reports read."""


@dataclass(frozen=True)
class Origin:
    """What a run folder was made from."""

    scenario: Scenario
    base: Path
    """Folder that the scenario's paths are relative to."""
    price: bool
    methods: tuple[str, ...]
    """Methods asked for; empty: all."""


@contextmanager
def claimed(folder: Path, resume: bool) -> Iterator[None]:
    """Hold the folder for a run. A new run whose first checkpoint is still to come goes away with a UserError.

    Raises:
        UserError: the folder holds a run or something else, is in use, or cannot be written to.
    """
    try:
        if not resume:
            _refuse_taken(folder)
        made = [path for path in (folder, *folder.parents) if not path.exists()]
    except OSError as error:
        raise UserError(f"cannot be looked into ({error.strerror}): choose another --out", file=folder) from error
    with RunLock(folder):
        if not resume:
            _refuse_taken(folder)  # by a run that began a moment ago
        try:
            yield
        except UserError:
            if not (resume or (folder / "checkpoints").exists()):
                _empty(folder)
                with suppress(OSError):
                    for path in made:
                        path.rmdir()
            raise


def describe(folder: Path, origin: Origin) -> None:
    """Write what a new run is, for `origin` to read."""
    atomic.write_json(folder / SCENARIO, origin.scenario.model_dump(mode="json"))
    libraries = {name: version(name) for name in ("torch", "transformers", "peft", "numpy", "pyarrow", "ray")}
    identity = {
        "fingerprint": fingerprint(origin.scenario),
        "base": str(origin.base),
        "price": origin.price,
        "methods": list(origin.methods),
        "machine": {"system": platform.platform(), "processor": platform.machine(), "cores": os.cpu_count()},
        "versions": {"python": platform.python_version(), "fedsim": __version__, **libraries},
    }
    atomic.write_json(folder / IDENTITY, identity)


def origin(folder: Path) -> Origin:
    """What a run is, to go on with it.

    Raises:
        UserError: not a run folder, a damaged one, or one made by other versions of what results depend on.
    """
    if not (folder / IDENTITY).is_file():
        raise not_a_run(folder, IDENTITY, "--resume")
    identity = read_json(folder / IDENTITY)
    try:
        scenario = Scenario.model_validate(read_json(folder / SCENARIO))
        found = Origin(scenario, Path(identity["base"]), identity["price"], tuple(identity["methods"]))
        made_with, made_from = dict(identity["versions"]), identity["fingerprint"]
    except ValidationError as error:
        fault = f"is not a scenario of this fedsim ({error.error_count()} mistakes): start a new run"
        raise UserError(fault, file=folder / SCENARIO, key="--resume") from error
    except (LookupError, TypeError, ValueError) as error:
        raise UserError(f"damaged ({error!r}): start a new run", file=folder / IDENTITY, key="--resume") from error
    decisive = ("torch", "transformers", "peft", "numpy")
    for name, installed in (("fedsim", __version__), *((n, version(n)) for n in decisive)):
        if made_with.get(name) != installed:
            raise UserError(
                f"the run was made with {name} {made_with.get(name)}, installed is {installed}: "
                "results would not be the same; install that version or start anew",
                file=folder,
                key="--resume",
            )
    if made_from != fingerprint(scenario):
        raise UserError(
            "was changed after the run began: put it back, or start a new run with the new settings",
            file=folder / SCENARIO,
            key="--resume",
        )
    return found


def check_world(folder: Path, world: World) -> None:
    """A new run writes down which text and fleet it was made from; one that is gone on with must find the same.

    Raises:
        UserError: a file or package that the run reads has changed.
    """
    own = {"text": world.tokens.fingerprint if world.tokens else "", "fleet": fleet_hash(world.fleet)}
    if not (folder / WORLD).is_file():
        atomic.write_json(folder / WORLD, own)
        return
    before = read_json(folder / WORLD)
    for name, source in (("text", "its files or packages"), ("fleet", "its file")):
        if before.get(name) != own[name]:
            raise UserError(
                f"the {name} is not what the run was made with: put {source} back as they were, or start a new run",
                file=folder,
                key="--resume",
            )


def read_json(file: Path) -> dict[str, Any]:
    """An object in a JSON file.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", file=file) from error
    except ValueError as error:
        raise UserError(f"damaged, it is not JSON: {error}", file=file) from error
    if not isinstance(content, dict):
        raise UserError("damaged, it should hold a JSON object", file=file)
    return content


def is_run(folder: Path) -> bool:
    """A run began in this folder."""
    return (folder / IDENTITY).is_file()


def summary(folder: Path) -> dict[str, Any]:
    """What a run has cost and reached: the methods that have ended.

    Raises:
        UserError: not a run folder, a damaged one, or no method has ended yet.
    """
    if not (folder / SUMMARY).is_file():
        if is_run(folder):
            raise UserError(f"no method has ended yet: go on with --resume {folder}", file=folder)
        raise not_a_run(folder, SUMMARY)
    found = read_json(folder / SUMMARY)
    methods = found.get("methods")
    numbers = list(methods.values()) if isinstance(methods, dict) else []
    if not numbers or not all(isinstance(own, dict) and own.keys() >= NUMBERS for own in numbers):
        raise UserError("damaged, or written by another version of fedsim", file=folder / SUMMARY)
    return {**found, "run": str(folder)}


def unfinished(folder: Path, summary: Mapping[str, Any]) -> list[str]:
    """Methods of a run that have not ended.

    Raises:
        UserError: the run folder is damaged.
    """
    try:
        wanted = read_json(folder / IDENTITY)["methods"] or read_json(folder / SCENARIO)["methods"]
    except LookupError as error:
        raise UserError(f"damaged: it says nothing of {error}", file=folder) from error
    return [name for name in wanted if name not in summary["methods"]]


def _refuse_taken(folder: Path) -> None:
    if (folder / IDENTITY).exists():
        raise UserError("holds a run already: go on with it by --resume, or choose another --out", file=folder)
    if folder.exists() and not folder.is_dir():
        raise UserError("is a file: choose another --out", file=folder)
    own = (".lock", SCENARIO, IDENTITY)  # all that a run which was killed as it began may have left
    if folder.is_dir() and any(not path.name.startswith(own) for path in folder.iterdir()):
        raise UserError("is not empty and holds no run: choose another --out", file=folder)


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def fleet_hash(fleet: Fleet) -> str:
    """One word for all columns of a fleet, as `world.json` has it."""
    digest = hashlib.sha256()
    for name, value in vars(fleet).items():
        digest.update(f"{name} ".encode())
        digest.update(value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode())
    return digest.hexdigest()
