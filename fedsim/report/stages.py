"""What each stage of a run trains, sends and costs a device."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from fedsim.report.layout import Grid
from fedsim.report.units import metric, share
from fedsim.trace.manifest import Manifest, trace_folder

_SAME = ("phase", "plan", "trained", "depth", "parameters_sent", "upload_bytes_per_client", "flops_layers_share")
"""Stages that agree in these are one row: a cyclic schedule has one stage a round."""
_HEADERS = (
    "method",
    "phase",
    "trained",
    "rounds",
    "depth",
    "parameters\nsent",
    "upload a\nclient, MB",
    "upload a\nclient, MiB",
    "FLOPs",
    "layers-only\ncompute",
    "peak\nmemory",
)
_SPARE = tuple(map(_HEADERS.index, ("upload a\nclient, MiB", "layers-only\ncompute", "depth", "phase")))
"""What a narrow terminal does without, before the table becomes a list."""
_NOTES = (
    "FLOPs: forward and backward as counted, relative to training the method's full model on the same data",
    "layers-only compute: the same by a count in which embeddings and head are free",
)


def stages(run: Path, methods: Iterable[str]) -> Grid:
    """The stages of a run's methods.

    Raises:
        UserError: a file of the trace is missing or damaged.
    """
    return of_rows((method, _read(run, method)) for method in methods)


def of_rows(stages: Iterable[tuple[str, Sequence[Mapping[str, Any]]]]) -> Grid:
    """The same of rows of the trace's `stages`, by method."""
    rows = [_cells(method, stage) for method, own in stages for stage in _merged(own)]
    return Grid(_HEADERS, rows, "stages", _NOTES, left=frozenset({0, 1, 2}), spare=_SPARE)


def _cells(method: str, stage: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        method,
        stage["phase"],
        stage["trained"],
        f"{stage['rounds']:,}",
        str(stage["depth"]),
        f"{stage['parameters_sent']:,}",
        f"{stage['upload_bytes_per_client'] / 1e6:,.3f}",
        f"{stage['upload_bytes_per_client'] / 2**20:,.3f}",
        share(stage["flops_share"], 1.0),
        share(stage["flops_layers_share"], 1.0),
        metric(stage["memory_bytes"], "B"),
    )


def _read(run: Path, method: str) -> list[dict[str, Any]]:
    folder = trace_folder(run, method)
    parts = Manifest.load(folder).parts_of("stages")
    return [row for part in parts for row in pq.ParquetFile(part.check(folder)).read().to_pylist()]


def _merged(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Equal stages as one: rounds added, memory the highest, the FLOPs share averaged over rounds."""
    merged: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        key = tuple(row[name] for name in _SAME)
        if (before := merged.get(key)) is None:
            merged[key] = dict(row)
            continue
        rounds = before["rounds"] + row["rounds"]
        flops = before["flops_share"] * before["rounds"] + row["flops_share"] * row["rounds"]
        memory = max(before["memory_bytes"], row["memory_bytes"])
        before.update(rounds=rounds, flops_share=flops / rounds, memory_bytes=memory)
    return list(merged.values())
