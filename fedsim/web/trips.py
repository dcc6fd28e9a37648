"""The trips of one round: who, from when to when, how long on the way and how long at work, and what came of it."""

from typing import Any

import numpy as np
import pyarrow.compute as pc

from fedsim.errors import UserError
from fedsim.report.frames import LEGS
from fedsim.web.follow import Followed
from fedsim.web.numbers import plain

TRIPS = 400
"""The most that are drawn."""
_SHOWN = ("client", "device", "network", "outcome", "cause", "staleness", "start_s", *LEGS, "end_s")
_SUMMED = ("download_bytes", "upload_bytes", "flops_forward", "flops_backward", "energy_j")


def of_round(run: Followed, method: str, round_: int, most: int = TRIPS) -> dict[str, Any]:
    """A round and its trips, in the order in which they ended.

    Of more than `most` trips, so many at equal distances in that order are told, the first and the last among them.

    Returns:
        `sums` over all trips of the round, and columns under `trips`; times are simulated seconds.

    Raises:
        UserError: there is no such round, or a file cannot be read.
    """
    rounds = run.table(method, "rounds")
    own = rounds.filter(pc.equal(rounds["round"], round_)).to_pylist()
    if not own:
        raise UserError(f"{method} has no round {round_} yet", file=run.folder)
    trips = run.trips(method, round_, [*_SHOWN, *_SUMMED, "loss"])
    order = np.lexsort((trips["client"].to_numpy(), trips["end_s"].to_numpy()))
    if len(order) > most:
        order = order[np.round(np.linspace(0, len(order) - 1, most)).astype(np.int64)]
    shown = trips.take(order)
    sums = {name: pc.sum(trips[name], min_count=0).as_py() for name in _SUMMED}
    return {
        "method": method,
        "round": round_,
        "phase": own[0]["phase"],
        "stage": own[0]["stage"],
        "start_s": own[0]["start_s"],
        "end_s": own[0]["end_s"],
        "cohort": trips.num_rows,
        "outcomes": {row["values"]: row["counts"] for row in pc.value_counts(trips["outcome"]).to_pylist()},
        "sums": sums,
        "trips": {name: plain(shown[name]) for name in shown.column_names},
    }
