"""A small run made by hand: two methods, two rounds, three devices, numbers that can be added in the head."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from fedsim.trace.reader import Run
from fedsim.trace.schema import TABLES

# client, device, network, download_s, compute_s, upload_s, outcome
TRIPS = {
    "fedavg": [
        (0, "phone", "wifi", 1.0, 2.0, 1.0, "completed"),
        (1, "phone", "wifi", 2.0, 3.0, 1.0, "completed"),
        (2, "board", "3g", 5.0, 1.0, 0.0, "late"),
    ],
    "light": [
        (0, "phone", "wifi", 1.0, 1.0, 0.0, "completed"),
        (1, "phone", "wifi", 1.0, 1.0, 0.0, "completed"),
        (2, "board", "3g", 2.0, 1.0, 1.0, "completed"),
    ],
    "centralized": [(-1, "server_gpu", "datacenter", 0.0, 0.5, 0.0, "completed")],
}
MEMORY = {"fedavg": 8_000_000, "light": 2_000_000, "centralized": 8_000_000}


def run(**replaced: pd.DataFrame) -> Run:
    """The run; frames given by name take the place of its own."""
    frames = {
        "trips": _trips(),
        "rounds": _rounds(),
        "evals": _evals(),
        "stages": _stages(),
        "lessons": _table("lessons"),
    }
    return _read("a-run", tuple(TRIPS), {**frames, "events": _table("events"), **replaced})


def many(count: int) -> Run:
    """A run of so many methods that reached much the same."""
    evals = []
    for i in range(count):
        spent = (1 + i % 4) * 1_000_000
        evals += [_eval(f"method-{i}", "finetune", 1, "accuracy", 0.5 + 0.001 * i, spent)]
        evals += [_eval(f"method-{i}", "finetune", 2, "accuracy", 0.6 + 0.001 * i, 2 * spent)]
        evals += [_eval(f"method-{i}", "finetune", 2, "majority_accuracy", 0.45, 2 * spent)]
    frames = {name: _table(name) for name in ("trips", "rounds", "stages", "lessons", "events")}
    return _read("many", [f"method-{i}" for i in range(count)], {**frames, "evals": _table("evals", *evals)})


def _read(name: str, methods: Sequence[str], frames: Mapping[str, pd.DataFrame]) -> Run:
    """A run whose frames have been read already."""
    listed = {"methods": dict.fromkeys(methods)}
    made = Run(Path(name), listed, listed)
    vars(made).update(frames)
    return made


def no_evals() -> pd.DataFrame:
    """What a run in price mode has evaluated."""
    return _table("evals")


def spans() -> pd.DataFrame:
    """Evaluations of a tagging task."""
    return _table("evals", *[_eval("fedavg", "finetune", 1, name, 0.5, 0) for name in ("accuracy", "span_f1")])


def _trips() -> pd.DataFrame:
    rows = []
    for round_ in (0, 1):
        for method, trips in TRIPS.items():
            for client, device, network, download, compute, upload, outcome in trips:
                start = 10.0 * round_
                row = {
                    **{"method": method, "phase": _phase(round_), "round": round_, "client": client, "device": device},
                    **{"network": network, "download_s": download, "compute_s": compute, "upload_s": upload},
                    **{"start_s": start, "end_s": start + download + compute + upload, "outcome": outcome},
                    **{"memory_bytes": MEMORY[method] + round_, "useful": outcome == "completed"},
                }
                rows.append(row)
    frame = _table("trips", *rows)
    text = TABLES["trips"].strings
    return frame.astype(dict.fromkeys(text, "category"))


def _rounds() -> pd.DataFrame:
    sent = {"fedavg": 3_000_000, "light": 1_000_000, "centralized": 0}
    return _table(
        "rounds",
        *[
            {
                **{"method": method, "phase": _phase(round_), "round": round_, "download_bytes": size},
                **{"upload_bytes": size, "flops_forward": 100, "flops_backward": 200, "device_seconds": 16.0},
                "wasted_download_bytes": size // 2 if method == "fedavg" else 0,
                "wasted_flops_forward": 30 if method == "fedavg" else 0,
                "wasted_device_seconds": 6.0 if method == "fedavg" else 0.0,
            }
            for method, size in sent.items()
            for round_ in (0, 1)
        ],
    )


def _evals() -> pd.DataFrame:
    rows = []
    for method, (first, second, accuracies) in {
        "fedavg": (6.0, 4.0, (0.5, 0.8)),
        "light": (6.0, 5.0, (0.4, 0.6)),
        "centralized": (6.0, 3.0, (0.6, 0.9)),
    }.items():
        step = {"fedavg": 3, "light": 1, "centralized": 0}[method] * 1_000_000
        rows += [
            _eval(method, "further_pretrain", -1, "mlm_loss", first, 0),
            _eval(method, "further_pretrain", 0, "mlm_loss", second, step),
            _eval(method, "further_pretrain", 0, "unigram_loss", 5.5, step),
            _eval(method, "finetune", 1, "accuracy", accuracies[0], 2 * step),
            _eval(method, "finetune", 2, "accuracy", accuracies[1], 3 * step),
            _eval(method, "finetune", 2, "majority_accuracy", 0.45, 3 * step),
        ]
    return _table("evals", *rows)


def _eval(method: str, phase: str, round_: int, metric: str, value: float, sent: int) -> dict[str, Any]:
    return {
        **{"method": method, "phase": phase, "round": round_, "metric": metric, "value": value, "samples": 10},
        **{"upload_bytes": sent, "download_bytes": 2 * sent, "flops": 1000 * sent},
        "simulated_s": 100.0 * (round_ + 1),
    }


def _stages() -> pd.DataFrame:
    return _table(
        "stages",
        *[
            {"method": method, "phase": _phase(first), "first_round": first, "rounds": 1}
            for method in TRIPS
            for first in (0, 1)
        ],
    )


def _phase(round_: int) -> str:
    return ("further_pretrain", "finetune")[round_]


def _table(name: str, *rows: dict[str, Any]) -> pd.DataFrame:
    """Rows with every column of the table: what is not given is zero, empty or false."""
    empty = {"string": "", "int64": 0, "float64": 0.0, "bool": False}
    columns = {column.name: empty[column.type] for column in TABLES[name].columns}
    assert all(row.keys() <= columns.keys() for row in rows)
    return pd.DataFrame([{**columns, **row} for row in rows], columns=list(columns))
