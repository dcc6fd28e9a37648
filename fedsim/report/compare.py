"""The methods of a run side by side: what each reached and what it cost."""

from collections.abc import Callable, Mapping
from typing import Any

from rich.table import Table

from fedsim.report.units import duration, flops, megabytes, share

_COSTS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("upload, MB", "upload_bytes", megabytes),
    ("download, MB", "download_bytes", megabytes),
    ("forward", "flops_forward", flops),
    ("backward", "flops_backward", flops),
    ("device time", "device_seconds", duration),
    ("energy, kJ", "energy_j", lambda joules: f"{joules / 1e3:,.1f}"),
    ("simulated time", "simulated_seconds", duration),
    ("wasted, MB", "wasted_bytes", megabytes),
    ("wasted compute", "wasted_flops", flops),
    ("wasted device time", "wasted_device_seconds", duration),
)
_SHOWN = ("mlm_loss", "unigram_loss", "accuracy", "majority_accuracy", "macro_f1", "span_f1")


def comparison(summary: Mapping[str, Any]) -> Table:
    """One row a number, one column a method; costs also as a share of the first method's."""
    methods: Mapping[str, Any] = summary["methods"]
    first = next(iter(methods.values()))
    table = Table(title="prices only" if summary.get("price") else None, title_justify="left")
    table.add_column("")
    for name in methods:
        table.add_column(name, justify="right")
    for key in _quality_keys(methods):
        cells = [f"{method['quality'][key]:.4f}" if key in method["quality"] else "" for method in methods.values()]
        table.add_row(key.replace("/", " "), *cells, style="bold")
    for label, key, show in _COSTS:
        if not any(method[key] for method in methods.values()):
            continue
        cells = []
        for method in methods.values():
            # waste is told as a share of the method's own total, everything else as a share of the first method
            whole = first[key] if not key.startswith("wasted") else _total(method, key)
            part = "" if method is first and not key.startswith("wasted") else share(method[key], whole)
            cells.append(f"{show(method[key])}  {part:>7}" if len(methods) > 1 or part else show(method[key]))
        table.add_row(label, *cells)
    uploads = [
        (method["upload_bytes"] - method["wasted_upload_bytes"]) / method["clients_trained"]
        for method in methods.values()
        if method["clients_trained"]
    ]
    if len(uploads) == len(methods):
        table.add_row("mean upload, MB", *(f"{size / 1e6:.3f}  {share(size, uploads[0]):>7}" for size in uploads))
        table.add_row("mean upload, MiB", *(f"{size / 2**20:.3f}         " for size in uploads))
    table.add_row("rounds", *(str(method["rounds"]) for method in methods.values()))
    table.add_row("client updates used", *(f"{method['clients_trained']:,}" for method in methods.values()))
    return table


def _quality_keys(methods: Mapping[str, Any]) -> list[str]:
    keys = dict.fromkeys(key for method in methods.values() for key in method["quality"])
    return [key for key in keys if key.rpartition("/")[2] in _SHOWN]


def _total(method: Mapping[str, Any], key: str) -> float:
    if key == "wasted_bytes":
        return float(method["upload_bytes"] + method["download_bytes"])
    if key == "wasted_flops":
        return float(method["flops_forward"] + method["flops_backward"])
    return float(method["device_seconds"])
