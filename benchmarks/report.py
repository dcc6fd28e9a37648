"""The page docs/benchmarks.md, from what results/*.json hold."""

from collections.abc import Iterator, Sequence

from benchmarks import summary
from benchmarks.bench import DISTURBED_CORES, MEMORY_TURN
from benchmarks.summary import Content, Row


def markdown(contents: Sequence[Content]) -> str:
    """All works, one table each."""
    lines = [
        "# Speed",
        "",
        "Written by `make bench`; [benchmarks/README.md](../benchmarks/README.md) says what is measured and how.",
        "",
    ]
    for content in contents:
        lines += [*_section(content), ""]
    return "\n".join(lines)


def _section(content: Content) -> Iterator[str]:
    machine, rows = content["machine"], summary.rows(content)
    versions = {", ".join(f"{name} {number}" for name, number in t["versions"].items()): 0 for t in content["timings"]}
    disturbed = sum(t["elsewhere_cores"] > DISTURBED_CORES for t in content["timings"] if t["turn"] != MEMORY_TURN)
    yield f"## {content['work']['name']}"
    yield ""
    yield f"{content['date']}, {machine['processor']}, {machine['cores']} cores, Python {machine['python']}."
    yield f"{'; '.join(versions)}."
    yield ""
    yield (
        "| system | runs | updates/s | slowest to fastest run | relative to the best bare loop "
        "| first round done after, s | peak memory, MB | distance |"
    )
    yield "|---|---:|---:|---:|---:|---:|---:|---:|"
    yield from map(_line, rows)
    if disturbed:
        yield ""
        yield f"Other programs used more than {DISTURBED_CORES:g} cores during {disturbed} of these runs."
    if content["missing"]:
        yield ""
        yield f"Not installed, hence not measured: {', '.join(content['missing'])}."


def _line(row: Row) -> str:
    relative = f"{row.relative:.2f}" if row.relative else "-"
    memory = f"{row.peak_bytes / 1e6:,.0f}" if row.peak_bytes else "-"
    spread = f"{row.slowest:.1f} to {row.fastest:.1f}"
    return (
        f"| {row.label} | {row.runs} | {row.updates_per_s:.1f} | {spread} | {relative} | {row.first_round_done_s:.1f} "
        f"| {memory} | {row.distance:.0e} |"
    )
