"""Curves of a run with few enough points to draw: quality and loss by what was spent, and what became of trips."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from fedsim.clock.trips import OUTCOMES
from fedsim.report.frames import BASELINES
from fedsim.web.follow import Followed
from fedsim.web.numbers import column, plain

POINTS = 500
"""The most of one curve."""
BARS = 160
"""The most of one bar chart over rounds."""
_SPENT = ("upload_bytes", "download_bytes", "flops")

Indices = npt.NDArray[np.int64]


def thinned(values: npt.NDArray[np.float64], most: int) -> Indices:
    """Which points to keep of a curve: the first, the last, and the lowest and highest of each piece between.

    Args:
        values: of shape [n]; NaN is no point to keep for its height.
        most: at least 4.

    Returns:
        Indices in ascending order, at most so many.
    """
    if len(values) <= most:
        return np.arange(len(values))
    kept = {0, len(values) - 1}
    for piece in np.array_split(np.arange(1, len(values) - 1), (most - 2) // 2):
        own = values[piece]
        if np.isnan(own).all():
            kept.add(int(piece[len(piece) // 2]))
        else:
            kept |= {int(piece[np.nanargmin(own)]), int(piece[np.nanargmax(own)])}
    return np.array(sorted(kept))


def losses(run: Followed, method: str, most: int = POINTS) -> dict[str, list[Any]]:
    """Training loss of every round, beside what the method had spent by its end.

    Columns round, simulated_s, upload_bytes, download_bytes, flops and loss; loss is null where nothing was trained.
    """
    rounds = run.table(method, "rounds")
    loss = column(rounds, "loss")
    kept = thinned(loss, most)
    flops = pc.add(rounds["flops_forward"], rounds["flops_backward"])
    spent = {"upload_bytes": rounds["upload_bytes"], "download_bytes": rounds["download_bytes"], "flops": flops}
    return {
        "round": plain(rounds["round"].take(kept)),
        "simulated_s": plain(rounds["end_s"].take(kept)),
        **{name: plain(pc.cumulative_sum(values).take(kept)) for name, values in spent.items()},
        "loss": plain(rounds["loss"].take(kept)),
    }


def evaluations(run: Followed, method: str, most: int = POINTS) -> dict[str, dict[str, list[Any]]]:
    """By `PHASE/METRIC`: columns round, simulated_s, upload_bytes, download_bytes, flops and value."""
    evals, found = run.table(method, "evals"), {}
    names = zip(evals["phase"].to_pylist(), evals["metric"].to_pylist(), strict=True)
    for phase, metric in dict.fromkeys(names):
        if phase == "pretrain":
            continue
        own = evals.filter(pc.and_(pc.equal(evals["phase"], phase), pc.equal(evals["metric"], metric)))
        kept = thinned(column(own, "value"), most)
        found[f"{phase}/{metric}"] = {
            name: plain(own[name].take(kept)) for name in ("round", "simulated_s", *_SPENT, "value")
        }
    return found


def baseline(key: str, known: Mapping[str, Mapping[str, Sequence[Any]]]) -> float | None:
    """What is reached in a metric without any model; None: nobody knows."""
    phase, _, metric = key.rpartition("/")
    own = known.get(f"{phase}/{BASELINES.get(metric, '')}")
    return float(own["value"][-1]) if own else None


def outcomes(run: Followed, method: str, most: int = BARS) -> dict[str, Any]:
    """What became of trips, round by round or in pieces of consecutive rounds.

    Returns:
        `first` and `last` round of each piece, and the number of trips by outcome.
    """
    rounds = run.table(method, "rounds")
    starts = pieces(len(rounds), most)
    return {
        **spans(rounds, starts),
        "outcomes": {
            outcome.value: plain(pa.array(np.add.reduceat(rounds[outcome.value].to_numpy(), starts)))
            for outcome in OUTCOMES
            if len(starts) and pc.sum(rounds[outcome.value]).as_py()
        },
    }


def pieces(rows: int, most: int) -> Indices:
    """Where each of at most so many pieces of nearly equal length begins."""
    return np.array(
        [piece[0] for piece in np.array_split(np.arange(rows), min(rows, most) or 1) if len(piece)], np.int64
    )


def spans(rounds: pa.Table, starts: Indices) -> dict[str, list[Any]]:
    """The first and the last round of every piece."""
    numbers = rounds["round"].to_numpy()
    ends = np.append(starts[1:], len(numbers)) - 1 if len(starts) else starts
    return {"first": numbers[starts].tolist(), "last": numbers[ends].tolist()}
