"""Peak memory that was measured before, in the cache folder: it depends on shape, optimizer and code alone."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from fedsim.cost.memory import Polynomial
from fedsim.model.architecture import LocalShape
from fedsim.scenario.phases import Optimizer
from fedsim.store import atomic

Wanted = tuple[LocalShape, Optimizer]

_LIBRARIES = ("torch", "transformers", "peft")
_CODE = ("cost", "model", "training")
"""Packages of fedsim that a training step is made of."""


class KnownMemory:
    """One small file for each measurement."""

    def __init__(self, cache_folder: Path) -> None:
        self._folder = cache_folder / "memory" / _fingerprint()

    def find(self, wanted: Iterable[Wanted]) -> dict[Wanted, Polynomial]:
        """Those that were measured before."""
        found = {}
        for one in wanted:
            try:
                found[one] = Polynomial(**json.loads(self._file(one).read_text()))
            except (OSError, ValueError, TypeError):
                continue  # it is measured again, and written anew
        return found

    def keep(self, measured: dict[Wanted, Polynomial]) -> None:
        """Remember these."""
        for one, polynomial in measured.items():
            atomic.write_json(self._file(one), asdict(polynomial))

    def _file(self, wanted: Wanted) -> Path:
        shape, optimizer = wanted
        text = f"{shape!r}\n{optimizer.model_dump_json()}"
        return self._folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"


@cache
def _fingerprint() -> str:
    """Of the code that measures and is measured, and of the libraries below it."""
    digest = hashlib.sha256("\n".join(f"{name} {version(name)}" for name in _LIBRARIES).encode())
    for package in _CODE:
        for file in sorted(files("fedsim").joinpath(package).iterdir(), key=lambda file: file.name):
            if file.name.endswith(".py"):
                digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
