"""Scenarios run from Python, as the command line runs them."""

import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

from fedsim.errors import UserError
from fedsim.observe.console import console
from fedsim.observe.observer import Silent
from fedsim.trace.reader import Run, read_run


def simulate(
    scenario: str | Path,
    settings: Mapping[str, Any] | None = None,
    *,
    methods: Sequence[str] = (),
    out: str | Path | None = None,
    price: bool = False,
    engine: Literal["ray", "inline"] | None = None,
    hosts: int | None = None,
    address: str | None = None,
    progress: bool = False,
) -> Run:
    """Run a scenario and read what it leaves, as ``python -m fedsim scenario`` does.

    ``fedsim.simulate("quickstart", {"fleet.clients": 50}, engine="inline").rounds`` is a frame with a row a round.

    Args:
        scenario: a shipped scenario's name, or a YAML file.
        settings: what to change in it, by dotted key: ``{"phases.finetune.rounds": 3}``.
        methods: those to run; empty: all of them.
        out: the run's folder; None: a new one in the scenario's `outputs.folder`.
        price: prices, clock and trace only: nothing is trained.
        engine: Ray host actors, or this process; None: as the scenario says. So are the next two.
        hosts: Ray host actors.
        address: a running Ray cluster, `auto` or its address.
        progress: show it on stderr.

    Raises:
        UserError: the scenario, an argument or the folder cannot be used; says which key and what is allowed.
        FedsimError: the run failed on the way; `python -m fedsim scenario --resume FOLDER` goes on with it.
    """
    from fedsim import simulation
    from fedsim.monitor.watch import watched
    from fedsim.observe.terminal import observer_on
    from fedsim.request import fresh, place, release, starter
    from fedsim.scenario.load import load, locate
    from fedsim.scenario.shelf import find

    loaded = load(find(str(scenario)), [f"{key}={json.dumps(value)}" for key, value in (settings or {}).items()])
    request = fresh(loaded, methods, None if out is None else Path(out), price)
    given = {"kind": engine, "hosts": hosts, "address": address}
    try:
        config = place(request, {key: value for key, value in given.items() if value is not None})
        with observer_on(console(stderr=True)) if progress else nullcontext(Silent()) as shown:
            observer = watched(shown, request, config)
            simulation.simulate(request, None if config is None else starter(config, request, observer), observer)
    except UserError as error:
        if out is None:
            release(request.folder)
        raise locate(loaded, error) from None
    return read_run(request.folder)
