"""What to run and where to compute, from the options of the command line."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fedsim.engine.ahead import Ahead
from fedsim.engine.base import Engine
from fedsim.engine.ray_log import RAY_LOG
from fedsim.errors import UserError
from fedsim.observe.observer import Observer
from fedsim.scenario.engine import Engine as Config
from fedsim.scenario.explain import explain
from fedsim.scenario.identity import difference
from fedsim.scenario.load import Loaded
from fedsim.simulation import Request, resumed
from fedsim.world import cache_folder

_OPTIONS = {"kind": "--engine", "hosts": "--hosts", "address": "--address"}


def fresh(loaded: Loaded, methods: Sequence[str], out: Path | None, price: bool) -> Request:
    """A new run of a scenario, in `out` or in a new folder among the scenario's.

    Raises:
        UserError: no folder can be made there.
    """
    folder = out or _free(Path(loaded.scenario.outputs.folder), loaded.scenario.name)
    return Request(loaded.scenario, loaded.base, folder, tuple(methods), price)


def again(folder: Path, loaded: Loaded | None) -> Request:
    """A run to go on with. Where a scenario is named too, it must be the one that the run was made from.

    Raises:
        UserError: it cannot be gone on with, or the settings differ; says which.
    """
    request = resumed(folder)
    if loaded is None:
        return request
    if changes := difference(request.scenario, loaded.scenario):
        fault = (
            f"the run was made with other settings than {loaded.path} has now; leave the name out, or start a new run"
        )
        raise UserError("\n".join([fault, *(f"  {change}" for change in changes)]), file=folder, key="--resume")
    return replace(request, scenario=loaded.scenario, base=loaded.base)


def place(request: Request, where: Mapping[str, Any]) -> Config | None:
    """Where a run computes: what the scenario says, overruled by options; None where nothing is trained.

    Args:
        request: what to run.
        where: options given, by the names of its keys.

    Raises:
        UserError: an option that has no use here, or a value that is not allowed.
    """
    if request.price:
        for key in where:
            raise UserError("does not go with --price, which trains nothing", key=_OPTIONS[key])
        return None
    config = request.scenario.engine.model_dump(exclude_unset=True) | dict(where)
    if config.get("kind") == "inline":
        for key in where:
            if key != "kind":
                raise UserError("goes with --engine ray, this run's engine is inline", key=_OPTIONS[key])
        config = {key: value for key, value in config.items() if key not in ("hosts", "address")}
    try:
        return Config.model_validate(config)
    except ValidationError as error:
        problem = next(explain(error, Config))
        raise UserError(problem.message, key=_OPTIONS[str(problem.key[0])]) from None


def starter(config: Config, request: Request, observer: Observer) -> Callable[[], Engine]:
    """What makes the engine, and tells how that goes; torch and Ray are imported when it is called.

    Ray starts beside what the driver does next.
    """

    def start() -> Engine:
        with observer.task("loading torch", None):
            from fedsim.engine.inline import InlineEngine

            return InlineEngine(config.device, config.precision, config.threads)

    def start_ray() -> Engine:
        from fedsim.engine.ray_pool import RayEngine
        from fedsim.monitor.watch import job

        pool = RayEngine(
            config.hosts,
            config.address,
            config.device,
            config.precision,
            config.gpus_per_host,
            observer.note,
            job(request),
            config.dashboard,
            request.folder / RAY_LOG,
            (request.folder, cache_folder()),
            config.threads,
        )
        observer.note(_about(pool.hosts, pool.dashboard))
        return pool

    if config.kind == "inline":
        return start
    return lambda: Ahead(start_ray, "starting Ray" if config.address is None else "connecting to Ray", observer)


def _about(hosts: int, dashboard: str) -> str:
    """What Ray gives a run, and where to watch it."""
    text = f"Ray: {hosts} host{'' if hosts == 1 else 's'}"
    if dashboard:
        text += f", dashboard at http://{dashboard}"
        if os.environ.get("RAY_AUTH_MODE") == "token":  # Ray itself sets it, from 2.59 on
            text += " (asks for what `ray get-auth-token` says)"
    return text


def by_option(error: UserError, where: Mapping[str, Any]) -> UserError:
    """A mistake in the `engine` section, told of the option that it came from, if it did."""
    section, _, key = (error.key or "").partition(".")
    if section != "engine" or key not in where:
        return error
    return UserError(error.message, file=error.file, line=error.line, key=_OPTIONS[key])


def release(folder: Path) -> None:
    """Take back a folder that `fresh` made, where nothing came of the run."""
    with suppress(OSError):
        folder.rmdir()
        folder.parent.rmdir()


def _free(parent: Path, name: str) -> Path:
    """parent/name-1, or the first number that is free; it is made here, lest a run that begins just now take it too."""
    for number in count(1):
        folder = parent / f"{name}-{number}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise UserError(f"cannot be written to ({error.strerror}): choose an --out", file=folder) from error
        return folder
    raise AssertionError
