"""What was measured on a device, and the class of devices that it amounts to."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from fedsim.cost.flops import flops
from fedsim.cost.memory import peak_polynomial
from fedsim.data.batches import as_work
from fedsim.errors import UserError
from fedsim.fleet import measure_device
from fedsim.fleet.catalog import DeviceClass
from fedsim.fleet.files import LIMITS
from fedsim.model.architecture import Architecture, Head, LocalShape
from fedsim.scenario.phases import Optimizer

_MACHINE = {"device": str, "processor": str, "system": str, "cores": int, "threads": int, "torch": str}
_COUNTS = ("samples", "tokens", "positions", "flops_forward", "flops_backward")
_TIMES = ("forward_s", "backward_s")


@dataclass(frozen=True)
class Measurement:
    """Training steps, all alike, on one device."""

    trained: str
    """What, in words."""
    machine: Mapping[str, Any]
    """`device`, `processor`, `system`, `cores`, `threads`, `torch`."""
    flops_forward: int
    """Of one step."""
    flops_backward: int
    forward_s: tuple[float, ...]
    """Of every step."""
    backward_s: tuple[float, ...]
    """Of every step, with the optimizer's."""
    available_bytes: int | None
    """Memory that was free before; None: the system did not say."""
    peak_bytes: int | None
    """The most that the process has held; None: the system did not say."""
    priced_bytes: int
    """What fedsim prices such training at."""

    @property
    def forward_flops_per_s(self) -> float:
        """In forward passes, over the later half of the steps: by then a device is warm."""
        return self.flops_forward / _sustained(self.forward_s)

    @property
    def backward_flops_per_s(self) -> float:
        """In everything that comes after a forward pass."""
        return self.flops_backward / _sustained(self.backward_s)

    @property
    def flops_per_s(self) -> float:
        """Of whole steps."""
        both_s = _sustained(self.forward_s) + _sustained(self.backward_s)
        return (self.flops_forward + self.flops_backward) / both_s

    @property
    def slowed_to(self) -> float:
        """Speed of the last quarter of the steps as a share of that of the first: below 1 where heat holds it back."""
        steps = [one + other for one, other in zip(self.forward_s, self.backward_s, strict=True)]
        quarter = max(1, len(steps) // 4)
        return math.fsum(steps[:quarter]) / math.fsum(steps[-quarter:])

    @property
    def where(self) -> str:
        """The device in words."""
        processor, threads, torch = (self.machine[name] for name in ("processor", "threads", "torch"))
        used = f", {threads} thread{'' if threads == 1 else 's'}" if self.machine["device"] == "cpu" else ""
        return f"{processor}{used}, torch {torch}"

    @property
    def other_bytes(self) -> int | None:
        """What the process holds besides what is priced: libraries, the allocator's reserves."""
        return None if self.peak_bytes is None else max(0, self.peak_bytes - self.priced_bytes)

    @property
    def memory_bytes(self) -> int | None:
        """Memory that is left for what is priced; None: the system did not say enough."""
        if self.available_bytes is None or self.other_bytes is None:
            return None
        return self.available_bytes - self.other_bytes

    def as_class(
        self, name: str, power_w: float, power_source: str | None = None, memory_bytes: int | None = None
    ) -> DeviceClass:
        """A class of such devices.

        Args:
            name: What scenarios are to call it.
            power_w: Power drawn while computing, which software cannot measure.
            power_source: Where that number comes from.
            memory_bytes: Memory that training may use; None: as measured.

        Raises:
            UserError: A number is missing or out of the bounds of a fleet's.
        """
        steps = len(self.forward_s) - len(self.forward_s) // 2
        how = f"{self.trained}; {steps} steps on {self.where}"
        given = memory_bytes is not None
        if memory_bytes is None:
            memory_bytes = self.memory_bytes
        if memory_bytes is None:
            raise UserError("this system does not say how much memory it has: give the number", key="--memory-bytes")
        _within("--memory-bytes" if given else "memory", "memory_bytes", memory_bytes)
        _within("--power-w", "compute_power_w", power_w)
        _within("speed", "flops_per_s", min(self.forward_flops_per_s, self.backward_flops_per_s))
        other = "" if given else f"; {_mb(self.available_bytes)} free, {_mb(self.other_bytes)} of it for the process"
        return DeviceClass(
            name=name,
            description=f"{self.machine['processor']}, {self.machine['system']}",
            flops_per_s=self.flops_per_s,
            forward_flops_per_s=self.forward_flops_per_s,
            backward_flops_per_s=self.backward_flops_per_s,
            memory_bytes=memory_bytes,
            compute_power_w=power_w,
            sources={
                "flops_per_s": f"measured: whole steps of {how}",
                "forward_flops_per_s": f"measured: forward passes of {how}",
                "backward_flops_per_s": f"measured: backward passes and optimizer of {how}",
                "memory_bytes": "assumption: given by hand" if given else f"measured: what is left for training{other}",
                "compute_power_w": power_source or "assumption: given by hand",
            },
        )

    @classmethod
    def of_file(cls, path: Path) -> Self:
        """What `measure_device.py` has printed.

        Raises:
            UserError: It is no such file, or its numbers cannot be.
        """
        return cls.of(_json(path), path)

    @classmethod
    def of(cls, found: Mapping[str, Any], path: Path) -> Self:
        """What `measure_device.measure` gives; `path` is where it stands."""
        if found.get("kind") != measure_device.KIND or found.get("version") != measure_device.VERSION:
            fault = (
                f"is no {measure_device.KIND} of version {measure_device.VERSION}: measure with this fedsim's own file"
            )
            raise UserError(fault, file=path)
        machine, sizes = _section(found, "machine", path), _section(found, "sizes", path)
        for name, kind in _MACHINE.items():
            if type(machine.get(name)) is not kind:
                raise UserError(
                    f"must be {'text' if kind is str else 'a whole number'}", file=path, key=f"machine.{name}"
                )
        counts = {name: _count(found.get(name), name, path) for name in _COUNTS}
        own = {name: _count(sizes.get(name), f"sizes.{name}", path) for name in measure_device.SIZES}
        if own["hidden"] % own["heads"]:
            raise UserError(f"must divide hidden ({own['hidden']})", file=path, key="sizes.heads")
        times = {name: _times(found.get(name), name, path) for name in _TIMES}
        if len(times["forward_s"]) != len(times["backward_s"]):
            raise UserError("must have as many steps as backward_s", file=path, key="forward_s")
        free, peak = (
            None if found.get(name) is None else _count(found[name], name, path)
            for name in ("available_bytes", "peak_bytes")
        )
        shape = whole(own, counts["tokens"])
        forward, backward = step_flops(shape, counts["samples"], counts["tokens"], counts["positions"])
        for name, ours in (("flops_forward", forward), ("flops_backward", backward)):
            if counts[name] != ours:
                fault = f"is {counts[name]}, a step of these sizes has {ours}: the file was changed or is damaged"
                raise UserError(fault, file=path, key=name)
        largest = np.array([[counts["samples"], counts["tokens"], counts["positions"]]], np.int64)
        return cls(
            trained=described(own, counts["samples"], counts["tokens"]),
            machine={name: machine[name] for name in _MACHINE},
            flops_forward=forward,
            flops_backward=backward,
            **times,
            available_bytes=free,
            peak_bytes=peak,
            priced_bytes=int(peak_polynomial(shape, Optimizer(kind="adamw")).at(largest)[0]),
        )


def whole(sizes: Mapping[str, int], tokens: int) -> LocalShape:
    """The shape of what `measure_device.py` trains: a whole BERT with its MLM head."""
    layers = sizes["layers"]
    architecture = Architecture(
        family="bert",
        vocabulary=sizes["vocabulary"],
        hidden=sizes["hidden"],
        layers=layers,
        heads=sizes["heads"],
        feed_forward=sizes["feed_forward"],
        max_positions=tokens,
        dropout=measure_device.DROPOUT,
    )
    return LocalShape(architecture, Head("mlm"), layers, tuple(range(layers)), True, True)


def described(sizes: Mapping[str, int], samples: int, tokens: int) -> str:
    """Such training in words."""
    parameters = f"BERT of {sizes['layers']} layers, {sizes['hidden']} wide"
    return f"{parameters}, MLM, AdamW, batches of {samples} x {tokens} tokens"


def step_flops(shape: LocalShape, samples: int, tokens: int, positions: int) -> tuple[int, int]:
    """FLOPs of a step without padding, forward and backward."""
    every = samples * tokens
    row = [1, samples, every, every, every * tokens, positions, samples, tokens, positions]
    work, cost = as_work(np.array([row], np.int64)), flops(shape)
    return int(cost.forward.total(work)[0]), int(cost.backward.total(work)[0])


def _sustained(seconds: Sequence[float]) -> float:
    """Mean time of the later half of the steps."""
    later = seconds[len(seconds) // 2 :]
    return math.fsum(later) / len(later)


def _mb(count: int | None) -> str:
    assert count is not None
    return f"{count / 1e6:,.0f} MB"


def _within(key: str, column: str, value: float) -> None:
    low, high = LIMITS[column]
    if not low <= value <= high:
        raise UserError(f"is {value:g}, it must be a number from {low:g} to {high:g}", key=key)


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"the file cannot be read: {error.strerror}", file=path, key="--from") from None
    except ValueError as error:
        raise UserError(f"is not JSON: {error}", file=path, key="--from") from None
    if not isinstance(found, dict):
        raise UserError("must hold a JSON object", file=path, key="--from")
    return found


def _section(found: Mapping[str, Any], name: str, path: Path) -> Mapping[str, Any]:
    section = found.get(name)
    if not isinstance(section, dict):
        raise UserError("must be a JSON object", file=path, key=name)
    return section


def _count(value: object, key: str, path: Path) -> int:
    if type(value) is not int or not 1 <= value < 2**62:
        raise UserError(f"is {value!r}, it must be a whole number from 1 on", file=path, key=key)
    return value


def _times(value: object, key: str, path: Path) -> tuple[float, ...]:
    if not isinstance(value, list) or not value:
        raise UserError("must be a list of seconds, one a step", file=path, key=key)
    for second in value:
        if type(second) not in (int, float) or not 0 < second < math.inf:
            raise UserError(f"has {second!r}, every step must take a finite time above 0", file=path, key=key)
    return tuple(map(float, value))
