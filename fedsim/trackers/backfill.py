"""Rounds that no tracker was told of, from the trace: those that ended as the run was stopped or killed."""

from collections.abc import Iterator
from pathlib import Path

from fedsim.clock.trips import OUTCOMES
from fedsim.trace.manifest import Manifest, trace_folder
from fedsim.trace.reader import Run
from fedsim.trackers.base import Row


def missing(folder: Path, method: str, first: int, before: int) -> Iterator[Row]:
    """The rounds from `first` on that come before `before`, as `fedsim.trackers.base.row` tells them.

    How busy the hosts were is not in the trace. The run may go on meanwhile: these rounds are sealed.
    """
    run = Run(folder, {}, {}, {method: Manifest.load(trace_folder(folder, method))})
    rounds = run.read("rounds", filters=[("round", "<", before)]).set_index("round")
    evals = run.read("evals", filters=[("round", ">=", first), ("round", "<", before)])
    lessons = run.read("lessons", ["round", "flops_forward", "flops_backward"])
    events = run.read("events", ["round", "wall_s", "seconds"], [("kind", "==", "round")])
    ended = events.drop_duplicates("round", keep="last").set_index("round")
    for name in ("flops", "server_flops", "wasted_flops"):
        rounds[name] = rounds[f"{name}_forward"] + rounds[f"{name}_backward"]
    sums = rounds.select_dtypes("number").cumsum()
    for index in range(first, before):
        one, so_far = rounds.loc[index], sums.loc[index]
        taught = lessons[lessons["round"] <= index]
        server_flops = so_far["server_flops"] + taught["flops_forward"].sum() + taught["flops_backward"].sum()
        names = ("upload_bytes", "download_bytes", "flops", "device_seconds", "energy_j")
        wasted = ("upload_bytes", "download_bytes", "flops")
        numbers = {
            "so_far/simulated_s": one["end_s"],
            **{f"so_far/{name}": so_far[name] for name in names},
            "so_far/server_flops": server_flops,
            **{f"wasted_so_far/{name}": so_far[f"wasted_{name}"] for name in wasted},
            "round/simulated_s": one["end_s"] - one["start_s"],
            "round/real_s": ended["seconds"][index],
            **{f"trips/{outcome.value}": one[outcome.value] for outcome in OUTCOMES},
            f"{one['phase']}/train_loss": one["loss"],
        }
        own = evals[evals["round"] == index]
        tested = (own["phase"] + "/" + own["metric"]).tolist()
        quality = dict(zip(tested, own["value"].tolist(), strict=True))
        yield Row(index, float(ended["wall_s"][index]), {name: float(v) for name, v in numbers.items()}, quality)
