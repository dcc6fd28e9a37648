"""What to measure, from the command line's options: a scenario's plan, a BERT of given sizes, or what a file says."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fedsim.calibration import plan
from fedsim.calibration.measurement import Measurement
from fedsim.errors import UserError, choose
from fedsim.observe.observer import Observer
from fedsim.scenario.load import load, locate
from fedsim.scenario.shelf import find

SAMPLES, TOKENS = 8, 128
"""Of a batch where nobody says anything else."""


@dataclass(frozen=True)
class Request:
    """The options of `calibrate`."""

    scenario: str | None = None
    assignments: tuple[str, ...] = ()
    method: str | None = None
    phase: str | None = None
    stage: int | None = None
    sizes: str | None = None
    samples: int | None = None
    tokens: int | None = None
    seconds: float = 60.0
    device: str = "cpu"
    threads: int | None = None
    file: Path | None = None


def measured(request: Request, observer: Observer) -> Measurement:
    """Measure, or read what was measured elsewhere.

    Raises:
        UserError: Options do not go together, or what they name is not there.
    """
    of_plan = {"--set": request.assignments or None, "--method": request.method, "--phase": request.phase,
               "--stage": request.stage}  # fmt: skip
    of_batch = {"--batch": request.samples, "--tokens": request.tokens, "--threads": request.threads}
    if request.file is not None:
        others = {"NAME": request.scenario, **of_plan, "--sizes": request.sizes, **of_batch}
        _refuse(others, "does not go with --from: the file says what was measured")
        return Measurement.of_file(request.file)
    if request.scenario is None:
        _refuse(of_plan, "needs the NAME of a scenario")
        return _plain(request, observer)
    _refuse({"--sizes": request.sizes}, "does not go with a scenario, which has a model")
    loaded = load(find(request.scenario), list(request.assignments))
    asked = plan.Asked(request.method, request.phase, request.stage, request.samples, request.tokens)
    try:
        chosen = plan.choose_plan(loaded.scenario, loaded.base, asked, observer)
    except UserError as error:
        raise locate(loaded, error) from None
    _set_threads(request.threads)
    return plan.measure(chosen, request.seconds, request.device, observer)


def parse_sizes(text: str | None) -> dict[str, int]:
    """``hidden=256,layers=4`` as numbers, the others those of BERT-base.

    Raises:
        UserError: An unknown size, or a value that cannot be one.
    """
    from fedsim.fleet.measure_device import SIZES

    sizes = dict(SIZES)
    for part in text.split(",") if text else []:
        name, _, value = (word.strip() for word in part.partition("="))
        if name not in SIZES:
            raise UserError(f"no size is called '{name}'; {choose(name, SIZES)}", key="--sizes")
        if not (value.isascii() and value.isdigit() and int(value) > 0):
            raise UserError(f"{name} is '{value}', it must be a whole number from 1 on", key="--sizes")
        sizes[name] = int(value)
    if sizes["hidden"] % sizes["heads"]:
        raise UserError(f"heads must divide hidden ({sizes['hidden']}), given {sizes['heads']}", key="--sizes")
    return sizes


def _plain(request: Request, observer: Observer) -> Measurement:
    """The same as `measure_device.py` on a device without fedsim."""
    sizes = parse_sizes(request.sizes)
    import torch

    from fedsim.fleet import measure_device

    if request.device == "cuda" and not torch.cuda.is_available():
        raise UserError("this PyTorch finds no GPU", key="--device")
    _set_threads(request.threads)
    with observer.task(f"training for {request.seconds:g} s", None):
        samples, tokens = request.samples or SAMPLES, request.tokens or TOKENS
        found = measure_device.measure(sizes, samples, tokens, request.seconds, request.device)
    return Measurement.of(found, Path("measurement"))


def _set_threads(threads: int | None) -> None:
    import torch

    if threads is not None:
        torch.set_num_threads(threads)


def _refuse(options: Mapping[str, object], reason: str) -> None:
    for name, value in options.items():
        if value is not None:
            raise UserError(reason, key=name)
