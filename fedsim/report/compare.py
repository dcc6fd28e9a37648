"""Methods side by side: what each reached and what it cost."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fedsim.report.layout import Grid, fits
from fedsim.report.overview import overview
from fedsim.report.spread import Repeats
from fedsim.report.units import duration, flops, joules, megabytes, metric, share

_WASTABLE: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("upload, MB", "upload_bytes", megabytes),
    ("download, MB", "download_bytes", megabytes),
    ("forward", "flops_forward", flops),
    ("backward", "flops_backward", flops),
    ("cut up, MB", "cut_upload_bytes", megabytes),
    ("cut down, MB", "cut_download_bytes", megabytes),
    ("server forward", "server_flops_forward", flops),
    ("server backward", "server_flops_backward", flops),
    ("device time", "device_seconds", duration),
)
"""Costs that are booked as useful or wasted; the summary holds the wasted part as `wasted_` + name."""
_QUALITY = (
    "mlm_loss",
    "unigram_loss",
    "accuracy",
    "majority_accuracy",
    "macro_f1",
    "span_f1",
    "personal_mlm_loss",
    "personal_accuracy",
    "personal_majority_accuracy",
    "personal_span_f1",
)


def of_run(methods: Mapping[str, Mapping[str, Any]], width: int, title: str = "") -> Grid:
    """The methods of one run: every number where that fits into so many characters, else one row a method."""
    whole = comparison(methods, title)
    if fits(whole, width):
        return whole
    rows = {name: [own] for name, own in methods.items()}
    return overview([rows], title, ["every number of a method: --method NAME"])


def of_runs(found: Sequence[Repeats], width: int) -> Grid:
    """The methods of several runs, those with different seeds as one; every number where each stands for itself."""
    if len(found) == 1:
        names = {("", name): own for name, own in found[0].methods.items()}
    else:
        names = {(group.labels[0], name): own for group in found for name, own in group.methods.items()}
    if all(len(own) == 1 for own in names.values()):
        whole = comparison({"\n".join(filter(None, name)): own for name, (own,) in names.items()})
        if fits(whole, width):
            return whole
    worlds, notes = [], []
    for group in found:
        first, runs = group.labels[0] if len(found) > 1 else "", len(group.labels)
        worlds.append(
            {
                " ".join(filter(None, (first, name, f"(n = {len(own)})" if len(own) < runs else ""))): own
                for name, own in group.methods.items()
            }
        )
        if runs > 1:
            seeds = ", ".join(map(str, group.seeds))
            text = f"quality: mean ± sample standard deviation, costs: mean of {runs} runs with seeds {seeds}"
            notes.append(f"{first}: {text}" if first else text)
    return overview(worlds, notes=notes)


def comparison(methods: Mapping[str, Mapping[str, Any]], title: str = "") -> Grid:
    """One row a number, one column a method; costs also as a share of what the first method spent in all.

    Args:
        methods: as in a run's summary, by name.
        title: printed above.
    """
    first = next(iter(methods.values()))
    rows: list[tuple[str, ...]] = []
    sections: list[int] = []
    for key in _quality_keys(methods):
        cells = (f"{m['quality'][key]:.4f}" if key in m["quality"] else "" for m in methods.values())
        rows.append((key.replace("/", " "), *cells))

    def cost(label: str, show: Callable[[float], str], values: list[float], whole: float) -> None:
        shares = [share(value, whole) for value in values]
        own = len(methods) == 1 and values[0] == whole
        rows.append((label, *(f"{show(v)}{'' if own else f' {s:>9}'}" for v, s in zip(values, shares, strict=True))))

    for label, key, show in _WASTABLE:
        spent = [float(m[key]) for m in methods.values()]
        wasted = [float(m[f"wasted_{key}"]) for m in methods.values()]
        if not any(spent):
            continue
        if any(wasted) or not sections:
            sections.append(len(rows))
        cost(label, show, spent, spent[0])
        if any(wasted):
            cost("  useful", show, [a - b for a, b in zip(spent, wasted, strict=True)], spent[0])
            cost("  wasted", show, wasted, spent[0])
    if len(sections) > 1:
        sections.append(len(rows))
    for label, key, show in (("energy", "energy_j", joules), ("simulated time", "simulated_seconds", duration)):
        cost(label, show, [float(m[key]) for m in methods.values()], float(first[key]))
    if all("carbon_g" in method for method in methods.values()):
        cost(
            "CO2", lambda count: metric(count, "g"), [float(m["carbon_g"]) for m in methods.values()], first["carbon_g"]
        )
    uploads = [_mean_upload(method) for method in methods.values()]
    if any(uploads):
        cost("mean upload, MB", lambda count: f"{count / 1e6:,.3f}", uploads, uploads[0])
        cost("mean upload, MiB", lambda count: f"{count / 2**20:,.3f}", uploads, uploads[0])
    cost(
        "tokens, padded", lambda count: f"{count:,.0f}", [float(m["tokens"]) for m in methods.values()], first["tokens"]
    )
    rows.append(("padding", *(share(m["tokens"] - m["real_tokens"], m["tokens"]) for m in methods.values())))
    rows.append(("rounds", *(f"{method['rounds']:,}" for method in methods.values())))
    rows.append(("client updates used", *(f"{method['clients_trained']:,}" for method in methods.values())))
    note = f"percentages: of what {next(iter(methods))} spent in all".replace("\n", " ")
    return Grid(("", *methods), rows, title, [note] if len(methods) > 1 else [], sections=frozenset(sections))


def _quality_keys(methods: Mapping[str, Mapping[str, Any]]) -> list[str]:
    keys = dict.fromkeys(key for method in methods.values() for key in method["quality"])
    return [key for key in keys if key.rpartition("/")[2] in _QUALITY]


def _mean_upload(method: Mapping[str, Any]) -> float:
    """Bytes that a client whose update was used has sent."""
    useful = method["upload_bytes"] - method["wasted_upload_bytes"]
    return float(useful / method["clients_trained"]) if method["clients_trained"] else 0.0
