"""TensorBoard: event files in the run's folder, written by its own library, without torch."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from fedsim.trackers.base import Row, Status, Subject, Value

PACKAGES = ("tensorboard",)
AXES = {"by_simulated_s": ("so_far/simulated_s", 1.0), "by_sent_mb": ("so_far/upload_bytes", 1e6),
        "by_gflop": ("so_far/flops", 1e9)}  # fmt: skip
"""What quality is also shown against: TensorBoard knows no axis but steps, which are whole numbers."""


def where(folder: Path) -> str:
    """Where the numbers of a run go, in words."""
    return f"{folder / 'tensorboard'}; look at it: tensorboard --logdir {folder / 'tensorboard'}"


class TensorBoard:
    """One folder a method; a run that goes on adds a file to it."""

    def __init__(self, subject: Subject) -> None:
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self.id = subject.method
        self._writer = EventFileWriter(str(subject.folder / "tensorboard" / subject.method))
        self._add(hparams_pb(dict(subject.parameters), subject.name), time.time(), 0)

    def log(self, rows: Sequence[Row]) -> None:
        """A scalar for each number, at its round; quality also against what it has cost."""
        for one in rows:
            self._scalars(one.all, one.wall_s, one.round)
            for axis, (number, unit) in AXES.items():
                step = round(one.numbers[number] / unit)
                self._scalars(
                    {f"{axis}/{name}": one.all[name] for name in one.quality if name in one.all}, one.wall_s, step
                )
        self._writer.flush()

    def end(self, status: Status, summary: Mapping[str, Value]) -> None:
        """The summary's numbers as scalars at step 0."""
        numbers = {name: float(v) for name, v in summary.items() if isinstance(v, int | float)}
        self._scalars({name: value for name, value in numbers.items() if name.startswith("final/")}, time.time(), 0)
        self._writer.close()

    def _scalars(self, numbers: Mapping[str, float], wall_s: float, step: int) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=value) for name, value in numbers.items()]
        if values:
            self._add(Summary(value=values), wall_s, step)

    def _add(self, summary: object, wall_s: float, step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._writer.add_event(Event(wall_time=wall_s, step=step, summary=summary))


def open_session(subject: Subject, known: str | None) -> TensorBoard:
    """Begin to report, or go on."""
    return TensorBoard(subject)
