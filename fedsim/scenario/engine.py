"""The `engine` and `outputs` sections: where a run computes and what it leaves behind."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, Strict

from fedsim.scenario.base import Config, Count, Flag, Problem, Share, Text


class Engine(Config):
    """Where training runs.

    Of it `block_clients`, `stacked`, `threads`, `device` and `precision` change a result, by rounding.
    """

    kind: Literal["ray", "inline"] = "ray"
    """Ray host actors, or this process alone."""
    hosts: Count | None = None
    """Host actors; null: as many as there are cores for (or GPU shares)."""
    threads: Count = 1
    """Cores that a host computes with: more where memory is too short for a host a core."""
    address: Text | None = None
    """A running Ray cluster: `auto` or its address; null: start one here."""
    dashboard: Flag = True
    """Start Ray's dashboard with the cluster, where one is started here."""
    metrics: Flag = True
    """Numbers of every round for Prometheus, where the run is on Ray."""
    block_clients: Count | None = None
    """Clients summed before anything is sent back; changes rounding. null: 4 to 32 blocks a round, by its FLOPs."""
    stacked: Literal["auto", "always", "never"] = "auto"
    """Train clients of a block side by side, as one model: `auto` where steps are small, `always` wherever possible."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where hosts compute."""
    gpus_per_host: Annotated[float, Strict(), Field(gt=0.0, le=1.0)] = 1.0
    """Share of a GPU that a host asks for (device cuda)."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """`bfloat16` runs forward and backward under autocast."""
    max_failed_fraction: Share = 0.0
    """Share of the updates due in a round that may fail (local training raises an error) before the run stops."""
    max_rejected_fraction: Share = 0.5
    """Share of them that the server may refuse (not finite, wrong shape, damaged) before the run stops."""

    def problems(self) -> Iterator[Problem]:
        """A share of a GPU needs a GPU; hosts and addresses are Ray's."""
        for name in ("hosts", "address"):
            if self.kind == "inline" and getattr(self, name) is not None:
                yield Problem((name,), "goes with kind: ray, kind is inline")
        if self.device == "cpu" and self.changed("gpus_per_host"):
            yield Problem(("gpus_per_host",), "goes with device: cuda, device is cpu")


Tracker = Literal["tensorboard", "mlflow", "wandb"]


class Outputs(Config):
    """What a run leaves behind."""

    folder: Text = "runs"
    """Parent folder of run folders."""
    checkpoint_every_rounds: Count | None = None
    """Rounds between checkpoints; the trace is written with them. Without it, and in price mode, they are seconds
    apart, and take at most a twentieth of the time."""
    save_models: Flag = True
    """Save each method's final global model in `transformers` format."""
    figures: Flag = False
    """Draw quality against costs into the run's folder, as PNG and SVG; needs matplotlib and a run that trains."""
    trackers: tuple[Tracker, ...] = ()
    """Report every round to these too; each needs its extra: pip install 'fedsim-ray[tensorboard]'."""

    def problems(self) -> Iterator[Problem]:
        """No tracker is told twice."""
        if len(set(self.trackers)) < len(self.trackers):
            yield Problem(("trackers",), "lists one of them twice")
