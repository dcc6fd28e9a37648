"""The numbers behind the figures, as pandas frames made from a run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from fedsim.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from fedsim.trace.reader import Run

By = Literal["device", "network"]
Units = tuple[tuple[float, str], ...]

BYTES: Units = ((1e6, "MB"),)
FLOPS: Units = ((1e6, "MFLOP"), (1e9, "GFLOP"), (1e12, "TFLOP"), (1e15, "PFLOP"))
SECONDS: Units = ((1.0, "s"), (60.0, "min"), (3600.0, "h"), (86400.0, "days"))
JOULES: Units = ((1.0, "J"), (1e3, "kJ"), (1e6, "MJ"), (1e9, "GJ"))


@dataclass(frozen=True)
class Cost:
    """Something that a method spends: columns of `evals`, which are added."""

    label: str
    columns: tuple[str, ...]
    units: Units
    """In what it may be shown, ascending."""


COSTS: Mapping[str, Cost] = {
    "upload": Cost("sent by devices", ("upload_bytes",), BYTES),
    "traffic": Cost("sent and received", ("upload_bytes", "download_bytes"), BYTES),
    "flops": Cost("computed", ("flops",), FLOPS),
    "time": Cost("simulated time", ("simulated_s",), SECONDS),
}
LEGS = ("download_s", "compute_s", "exchange_s", "server_s", "wait_s", "upload_s")
HEADLINES = ("mlm_loss", "span_f1", "accuracy")
"""Where there are spans, accuracy over tags says little: most of them are O."""
BASELINES = {
    "mlm_loss": "unigram_loss",
    "accuracy": "majority_accuracy",
    "personal_accuracy": "personal_majority_accuracy",
}
"""What is reached without any model, by the metric that it is to be compared with."""
WASTABLE: Mapping[str, tuple[str, ...]] = {
    "bytes": ("upload_bytes", "download_bytes"),
    "FLOPs": ("flops_forward", "flops_backward"),
    "device time": ("device_seconds",),
}
"""What may come to nothing, as columns of `rounds`; `wasted_` before a name is the part that did."""


def headline(run: "Run") -> list[tuple[str, str]]:
    """The (phase, metric) pairs that say how good a model is: one a phase, in the order of the phases.

    Raises:
        UserError: The run has no evaluations.
    """
    evals = run.evals[run.evals["phase"] != "pretrain"].sort_values("round", kind="stable")
    found = dict.fromkeys(zip(evals["phase"], evals["metric"], strict=True))
    phases = dict.fromkeys(phase for phase, _ in found)
    pairs = [(phase, metric) for phase in phases for metric in [m for m in HEADLINES if (phase, m) in found][:1]]
    if not pairs:
        raise UserError("nothing was evaluated: made with --price, or with phases.evaluate: null", file=run.path)
    return pairs


def curve(run: "Run", phase: str, metric: str, cost: str) -> "pd.DataFrame":
    """Columns method, round, cost, value: a row an evaluation; `cost` names one of `COSTS` (bytes, FLOPs, seconds)."""
    rows = run.evals[(run.evals["phase"] == phase) & (run.evals["metric"] == metric)]
    spent = rows[list(COSTS[cost].columns)].sum(axis=1)
    return rows.assign(cost=spent)[["method", "round", "cost", "value"]].reset_index(drop=True)


def final(run: "Run", phase: str, metric: str) -> "pd.DataFrame":
    """Rows by method: the last `value` of a metric, and each of `COSTS` by then in bytes, FLOPs and seconds."""
    rows = run.evals[(run.evals["phase"] == phase) & (run.evals["metric"] == metric)].astype({"method": str})
    last = rows.groupby("method", sort=False).last()
    spent = {name: last[list(cost.columns)].sum(axis=1) for name, cost in COSTS.items()}
    table: pd.DataFrame = last[["value"]].assign(**spent)
    return table


def baseline(run: "Run", phase: str, metric: str) -> float | None:
    """The same metric without any model; None: not known."""
    known = run.evals[(run.evals["phase"] == phase) & (run.evals["metric"] == BASELINES.get(metric, ""))]["value"]
    return float(known.iloc[-1]) if len(known) else None


def front(table: "pd.DataFrame", cost: str, metric: str) -> "pd.DataFrame":
    """The rows of `final` that no other row beats in cost and quality at once, cheapest first."""
    sign = -1.0 if metric.endswith("loss") else 1.0
    ordered = table.assign(quality=sign * table["value"]).sort_values([cost, "quality"], ascending=[True, False])
    better = ordered["quality"] > ordered["quality"].cummax().shift(fill_value=float("-inf"))
    unbeaten: pd.DataFrame = ordered[better].drop(columns="quality")
    return unbeaten


def device_trips(run: "Run") -> "pd.DataFrame":
    """The trips of devices, with their `trip_s`; the machine that trains pooled data is none.

    A trip that was cut off has the time that it was given, so times of a class that is often late are lower bounds.
    """
    trips = run.trips[run.trips["client"] >= 0]
    return trips.assign(trip_s=trips["end_s"] - trips["start_s"])


def trip_times(run: "Run", by: By) -> "pd.DataFrame":
    """Rows by class and method, slowest class first: `trips`, `late` (share), `median_s`, and each leg's mean."""
    trips = device_trips(run).astype({by: str, "method": str})
    trips = trips.assign(trips=1, late=trips["outcome"] == "late", median_s=trips["trip_s"])
    how: Any = {"trips": "sum", "late": "mean", "median_s": "median", **dict.fromkeys(LEGS, "mean")}
    table = trips.groupby([by, "method"]).agg(how)
    slowest = table["median_s"].groupby(level=0).max().sort_values(ascending=False).index
    order = [(name, method) for name in slowest for method in run.methods if (name, method) in table.index]
    ordered: pd.DataFrame = table.loc[order]
    return ordered


def wasted(run: "Run") -> "pd.DataFrame":
    """Rows by method: share of `bytes`, `FLOPs` and `device time` spent on trips whose update was not used."""
    sums = run.rounds.groupby("method", sort=False).sum(numeric_only=True)
    shares = {}
    for label, names in WASTABLE.items():
        spent, lost = sums[list(names)].sum(axis=1), sums[[f"wasted_{name}" for name in names]].sum(axis=1)
        shares[label] = lost / spent.where(spent > 0, 1)  # what sends nothing wastes nothing
    table: pd.DataFrame = sums.assign(**shares)[list(WASTABLE)]
    return table


def peak_memory(run: "Run") -> "pd.DataFrame":
    """Rows by phase, columns by method: bytes of the trip that needs most."""
    trips = run.trips.astype({"phase": str, "method": str})
    table = trips.pivot_table(index="phase", columns="method", values="memory_bytes", aggfunc="max", sort=False)
    return table[list(run.methods)]


def to_reach(run: "Run", phase: str, metric: str) -> "pd.DataFrame":
    """What each method had spent when it first was as good as the weakest method became; rows by method.

    Columns: `round`, `value`, and every one of `COSTS` in bytes, FLOPs and seconds. Between two evaluations nothing is
    interpolated: evaluate more often for a finer answer.
    """
    rows = run.evals[(run.evals["phase"] == phase) & (run.evals["metric"] == metric)]
    sign = -1.0 if metric.endswith("loss") else 1.0
    goal = (sign * rows["value"]).groupby(rows["method"]).max().min()
    first = rows[sign * rows["value"] >= goal].groupby("method", sort=False).first()
    spent = {name: first[list(cost.columns)].sum(axis=1) for name, cost in COSTS.items()}
    table: pd.DataFrame = first[["round", "value"]].assign(**spent)
    return table
