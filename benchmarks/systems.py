"""The systems that are timed, and how each is started and read."""

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np

from benchmarks import scenario, workload
from benchmarks.meter import FOLDER
from benchmarks.workload import TUNED, Workload

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = "torch-1"
"""The bare loop whose final weights everybody must reach."""


@dataclass(frozen=True)
class System:
    """One way to do the work."""

    name: str
    label: str
    """In tables."""
    command: tuple[str, ...]
    """`{folder}` stands for the run's own folder."""
    family: Literal["bare", "fedsim", "peer"] = "bare"
    """The trace of fedsim is read; the others are scripts of this folder, which write their results themselves."""
    less: bool = False
    """What no answer needs is not computed: less work than most others do."""
    always: bool = True
    """Run in every turn; the others are run once, to be looked at and not to be relied on."""
    shapes: bool = True
    """Run also on the shapes that nobody tuned for."""


class Peer(NamedTuple):
    """Another simulator, and where its environment is looked for."""

    variable: str
    """Environment variable with its python."""
    folder: str
    """In benchmarks/venvs."""
    package: str
    """What to install in it."""
    module: str
    """The script that runs it."""


PEERS = {
    "flower": Peer("BENCH_FLWR_PYTHON", "flwr", "flwr[simulation]", "benchmarks.flower"),
    "pfl": Peer("BENCH_PFL_PYTHON", "pfl", "pfl[pytorch]", "benchmarks.pfl_research"),
    "blazefl": Peer("BENCH_BLAZEFL_PYTHON", "blazefl", "blazefl", "benchmarks.blaze_fl"),
}


@dataclass(frozen=True)
class Outcome:
    """What a run leaves."""

    round_ends: tuple[float, ...]
    """Seconds since 1970."""
    weights: workload.Floats
    versions: dict[str, str]


def bare(work: Workload, rounds: int) -> Iterator[System]:
    """Plain torch."""
    start = (sys.executable, "-m", "benchmarks.bare_torch", "--work", work.name, "--rounds", str(rounds))
    two = (*start, "--processes", "2")
    yield System(REFERENCE, "bare torch, 1 process", start, always=False)
    yield System("torch-2", "bare torch, 2 processes", two, always=False, shapes=False)
    yield System(
        "torch-2-flat", "bare torch, 2 processes, flat buffers", (*two, "--way", "flat"), always=False, shapes=False
    )
    kept = (*two, "--keep-memory", "--way")
    yield System("torch-2-kept", "bare torch, 2 processes, flat buffers, freed memory kept", (*kept, "flat"))
    once = (*start, "--keep-memory", "--way", "vectorised")
    yield System("torch-1-vmap", "bare torch, 1 process, vectorised", once, always=False, shapes=False)
    yield System("torch-2-vmap", "bare torch, 2 processes, vectorised", (*kept, "vectorised"))
    if work.task == "mlm":
        label = "bare torch, 2 processes, flat buffers, masked positions"
        yield System("torch-2-masked", label, (*kept, "masked"), less=True, always=False, shapes=False)


POSITIONS: tuple[scenario.Positions, ...] = get_args(scenario.Positions)
"""The ways in which fedsim is timed: with logits and last layer at all positions, as the others have them, or where an
answer needs them."""


def simulator(files: Mapping[scenario.Positions, Path]) -> Iterator[System]:
    """fedsim through its command line."""
    engines = {
        "ray-2": ("Ray, 2 hosts", "--engine", "ray", "--hosts", "2"),
        "ray-1": ("Ray, 1 host", "--engine", "ray", "--hosts", "1"),
        "inline": ("inline", "--engine", "inline"),
    }
    for positions, file in files.items():
        less = positions == "needed"
        for name, (label, *options) in engines.items():
            yield System(
                name=f"fedsim-{name}-{positions}",
                label=f"fedsim, {label}{', needed positions' if less else ''}",
                command=(sys.executable, "-m", "fedsim", "scenario", str(file), *options, "--out", "{folder}/run"),
                family="fedsim",
                less=less,
                always=name == "ray-2" or not less,
                shapes=name == "ray-2",
            )


def peers(work: Workload, rounds: int, pythons: Mapping[str, str | None]) -> tuple[list[System], list[str]]:
    """Other simulators, and a line for each that is not there.

    Args:
        work: what they are given.
        rounds: of every run.
        pythons: peer -> python of an environment that has it, as given on the command line.
    """
    systems: list[System] = []
    missing = []
    for name, peer in PEERS.items():
        beside = ROOT / "benchmarks" / "venvs" / peer.folder / "bin" / "python"
        # not resolved: the python of an environment is a link, and knows its environment by the link's place
        python = Path(pythons.get(name) or os.environ.get(peer.variable) or beside).absolute()
        if not python.is_file():
            missing.append(
                f"{name}: no python at {python}; give --{name} or {peer.variable} (see benchmarks/README.md)"
            )
            continue
        script = ("-m", peer.module, "--work", work.name, "--rounds", str(rounds))
        match name:
            case "flower":
                systems.append(System(name, "Flower, Ray, 2 actors", (str(python), *script), "peer"))
            case "pfl":
                alone = (str(python), *script)
                systems.append(System("pfl-1", "pfl-research, 1 process", alone, "peer", always=False, shapes=False))
                both = (str(python), "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *script)
                systems.append(System("pfl-2", "pfl-research, 2 processes", both, "peer"))
            case _:
                systems.append(System(name, "BlazeFL, 2 processes", (str(python), *script), "peer", shapes=False))
    return systems, missing


def environment(folder: Path, cache: Path) -> dict[str, str]:
    """Environment of a run that leaves its result in `folder`."""
    ours = {
        FOLDER: str(folder),
        "FEDSIM_CACHE": str(cache),
        "PYTHONPATH": str(ROOT),
        # an installed package is compiled already; without this, a checkout would be compiled anew in every process
        "PYTHONDONTWRITEBYTECODE": "",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    return {**os.environ, **ours}


def read(work: Workload, system: System, folder: Path) -> Outcome:
    """What a finished run has left in its folder."""
    if system.family == "fedsim":
        run = folder / "run"
        identity = json.loads((run / "identity.json").read_text(encoding="utf-8"))
        versions = {name: identity["versions"][name] for name in ("fedsim", "ray", "torch")}
        return Outcome(tuple(scenario.round_ends(run)), scenario.weights(work, run), versions)
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return Outcome(tuple(result["round_ends"]), np.load(folder / "weights.npy"), result["versions"])


def every(
    work: Workload, rounds: int, files: Mapping[scenario.Positions, Path], pythons: Mapping[str, str | None]
) -> tuple[list[System], list[str]]:
    """All systems that are there, and a line for each peer that is not; for the arguments see the functions above."""
    others, missing = peers(work, rounds, pythons)
    return [*bare(work, rounds), *simulator(files), *others], missing


def choose(work: Workload, systems: Sequence[System], only: Sequence[str]) -> list[System]:
    """Those for this work whose name starts with one of the words, and the reference."""
    fitting = [system for system in systems if work.name in TUNED or system.shapes]
    return [
        system
        for system in fitting
        if not only or system.name == REFERENCE or any(system.name.startswith(word) for word in only)
    ]
