"""The systems that are timed, and how each is started and read."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from benchmarks import scenario, workload
from benchmarks.meter import FOLDER

ROOT = Path(__file__).resolve().parent.parent
BASELINE = "torch-2-flat"
"""The bare loop that ratios are taken to."""
REFERENCE = "torch-1"
"""The bare loop whose final weights everybody must reach."""
PEERS = {"flower": ("BENCH_FLWR_PYTHON", "flwr"), "pfl": ("BENCH_PFL_PYTHON", "pfl")}
"""System -> environment variable with its python, and folder of its environment in benchmarks/venvs."""


@dataclass(frozen=True)
class System:
    """One way to do the work."""

    name: str
    label: str
    """In tables."""
    command: tuple[str, ...]
    """`{folder}` stands for the run's own folder."""
    kind: Literal["script", "fedsim"] = "script"
    """A script of this folder, which writes its own result; or a run of fedsim, whose trace is read."""


@dataclass(frozen=True)
class Outcome:
    """What a run leaves."""

    round_ends: tuple[float, ...]
    """Seconds since 1970."""
    weights: workload.Floats
    versions: dict[str, str]


def bare(rounds: int) -> list[System]:
    """Plain torch."""

    def system(name: str, label: str, *options: str) -> System:
        module = (sys.executable, "-m", "benchmarks.bare_torch", "--rounds", str(rounds))
        return System(name, label, (*module, *options))

    return [
        system(REFERENCE, "bare torch, 1 process"),
        system("torch-2", "bare torch, 2 processes", "--processes", "2"),
        system(BASELINE, "bare torch, 2 processes, flat buffers", "--processes", "2", "--flat"),
        system("torch-2-kept", "the same, freed memory kept", "--processes", "2", "--flat", "--keep-memory"),
    ]


def scenarios(folder: Path, rounds: int) -> dict[scenario.Positions, Path]:
    """Write W3 for fedsim: with the logits at all positions, as the others have them, and at the masked ones alone."""
    return {positions: scenario.write(folder, rounds, positions) for positions in get_args(scenario.Positions)}


def simulator(files: Mapping[scenario.Positions, Path]) -> list[System]:
    """fedsim through its command line."""
    engines = {
        "ray-2": ("Ray, 2 hosts", "--engine", "ray", "--hosts", "2"),
        "ray-1": ("Ray, 1 host", "--engine", "ray", "--hosts", "1"),
        "inline": ("inline", "--engine", "inline"),
    }
    systems = []
    for positions, file in files.items():
        note = "" if positions == "all" else ", masked positions"
        for name, (label, *options) in engines.items():
            command = (sys.executable, "-m", "fedsim", "scenario", str(file), *options, "--out", "{folder}/run")
            systems.append(System(f"fedsim-{name}-{positions}", f"fedsim, {label}{note}", command, "fedsim"))
    return systems


def peers(rounds: int, pythons: dict[str, str | None]) -> tuple[list[System], list[str]]:
    """Other simulators, and a line for each that is not there.

    Args:
        rounds: of every run.
        pythons: system -> python of an environment that has it, as given on the command line.
    """
    systems, missing = [], []
    for name, (variable, environment) in PEERS.items():
        beside = ROOT / "benchmarks" / "venvs" / environment / "bin" / "python"
        # not resolved: the python of an environment is a link, and knows its environment by the link's place
        python = Path(pythons.get(name) or os.environ.get(variable) or beside).absolute()
        if not python.is_file():
            missing.append(f"{name}: no python at {python}; give --{name} or {variable} (see benchmarks/README.md)")
            continue
        script = ("-m", "benchmarks.flower" if name == "flower" else "benchmarks.pfl_research", "--rounds", str(rounds))
        if name == "flower":
            systems.append(System(name, "Flower, Ray, 2 actors", (str(python), *script)))
        else:
            several = (str(python), "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
            systems.append(System("pfl-1", "pfl-research, 1 process", (str(python), *script)))
            systems.append(System("pfl-2", "pfl-research, 2 processes", (*several, *script)))
    return systems, missing


def environment(folder: Path, cache: Path) -> dict[str, str]:
    """Environment of a run that leaves its result in `folder`."""
    ours = {
        FOLDER: str(folder),
        "FEDSIM_CACHE": str(cache),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    return {**os.environ, **ours}


def read(system: System, folder: Path) -> Outcome:
    """What a finished run has left in its folder."""
    if system.kind == "fedsim":
        run = folder / "run"
        identity = json.loads((run / "identity.json").read_text(encoding="utf-8"))
        versions = {name: identity["versions"][name] for name in ("fedsim", "ray", "torch")}
        return Outcome(tuple(scenario.round_ends(run)), scenario.weights(run), versions)
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return Outcome(tuple(result["round_ends"]), np.load(folder / "weights.npy"), result["versions"])


def choose(systems: Sequence[System], only: Sequence[str]) -> list[System]:
    """Those whose name starts with one of the words, and the two that everything is compared to."""
    return [
        system
        for system in systems
        if not only or system.name in (REFERENCE, BASELINE) or any(system.name.startswith(word) for word in only)
    ]
