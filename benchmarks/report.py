"""Medians over runs, as a Markdown page."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

DISTURBED = 0.2
"""Cores that others kept busy, from which a run counts as disturbed."""


def markdown(content: Mapping[str, Any]) -> str:
    """The page docs/benchmarks.md; `content` is what results/w3.json holds."""
    machine, labels = content["machine"], content["labels"]
    timings: Sequence[Mapping[str, Any]] = content["timings"]
    by_system = {name: [t for t in timings if t["system"] == name and t["turn"] >= 0] for name in labels}
    memory = {t["system"]: t["peak_bytes"] for t in timings if t["turn"] == -1}
    base = {t["turn"]: t["updates_per_s"] for t in by_system[content["baseline"]]}
    rows = [_row(labels[name], runs, base, memory.get(name)) for name, runs in by_system.items() if runs]
    versions = {", ".join(f"{name} {number}" for name, number in t["versions"].items()): None for t in timings}
    disturbed = sum(t["elsewhere_cores"] > DISTURBED for t in timings if t["turn"] >= 0)
    lines = [
        "# Speed",
        "",
        "Written by `make bench`; [benchmarks/README.md](../benchmarks/README.md) says what is measured and how.",
        "",
        f"Machine: {machine['processor']}, {machine['cores']} cores, {machine['memory_bytes'] / 1e9:.0f} GB of memory, "
        f"{machine['system']}, Python {machine['python']}.",
        f"Versions: {'; '.join(versions)}.",
        "",
        "| system | updates/s | slowest to fastest run | relative to bare torch | first round done after, s "
        "| peak memory, MB | distance |",
        "|---|---:|---:|---:|---:|---:|---:|",
        *rows,
        "",
        f"Medians of {content['runs']} runs of {content['rounds']} rounds each, taken in turns; a run's speed is "
        "that of the median round after the first. "
        f'*Relative*: to "{labels[content["baseline"]]}" in the same turn. *Peak memory*: of all processes '
        "together, pages shared by several counted once, from a run of its own. *Distance*: of the final update to "
        "that of plain sequential training, relative; float32 sums in another order account for 1e-5.",
        "",
    ]
    if disturbed:
        lines += [f"Other programs used more than {DISTURBED:g} cores during {disturbed} of these runs.", ""]
    if content["missing"]:
        lines += [f"Not installed, hence not measured: {', '.join(content['missing'])}.", ""]
    return "\n".join(lines)


def _row(label: str, runs: Sequence[Mapping[str, Any]], base: Mapping[int, float], peak_bytes: int | None) -> str:
    speeds = [run["updates_per_s"] for run in runs]
    ratios = [run["updates_per_s"] / base[run["turn"]] for run in runs if run["turn"] in base]
    first = median(run["first_round_done_s"] for run in runs)
    distance = max(run["distance"] for run in runs)
    relative = f"{median(ratios):.2f}" if ratios else "-"
    memory = f"{peak_bytes / 1e6:,.0f}" if peak_bytes else "-"
    spread = f"{min(speeds):.1f} to {max(speeds):.1f}"
    return f"| {label} | {median(speeds):.1f} | {spread} | {relative} | {first:.1f} | {memory} | {distance:.0e} |"
