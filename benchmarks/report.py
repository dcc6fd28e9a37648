"""The page docs/benchmarks.md, from what results/*.json hold."""

from collections.abc import Iterator, Mapping, Sequence

from benchmarks import summary
from benchmarks.bench import DISTURBED_CORES, MEMORY_TURN
from benchmarks.summary import Content, Row

PICTURE = "benchmarks.png"
INTRODUCTION = f"""\
# Speed

How many client updates a second fedsim makes on one machine, beside loops of plain PyTorch that do the same work
without any framework, and beside other simulators. `make bench` has written this page; it runs on any machine, and
[benchmarks/README.md](../benchmarks/README.md) says what is run and how it is timed.

All systems start from the same weights and see the same batches in the same order, and each run's final weights are
compared with those of plain sequential training: nobody is quick by doing something else. One thing that fedsim does
differs, and has rows of its own, *needed positions*, its default: the last layer behind its attention, and logits, are
computed where a token or a class is predicted from, and not at the other positions; for a class, these have no queries,
keys and values in that layer either (`last_layer: needed`, `mlm_positions: masked`). Loss and gradients are the same.
Only rows without it compare like with like.

![Updates per second relative to the best loop of plain PyTorch, and seconds until the first round is done]({PICTURE})
"""
TRUST = """\
- Medians over runs; a run's speed is that of its median round after the first. Systems take turns, and every *x* is
  the median of ratios within a turn. Systems with one run where others have more are there to be looked at.
- *Best bare loop*: the fastest loop of plain PyTorch that was run in every turn and computes everything everywhere.
- *Distance*: of the final update to that of plain sequential training, relative. Weights are float32, and the rounds
  change them by a hundredth to a thousandth: sums in another order account for 1e-5 to 1e-3. A system further off
  than that counts as failed.
- *Peak memory*: of all processes together, pages shared by several counted once, from a run of its own."""
DESCRIPTIONS = {
    "mlm": "Bound by computing: nearly all of the time goes into matrix products.",
    "classify": "Bound by overhead: an update takes a few milliseconds.",
    "mlm-wide": "As `mlm` with twice the hidden size, heads and feed-forward; nobody tuned for it.",
    "classify-wide": "As `classify` with twice the hidden size, heads and feed-forward; nobody tuned for it.",
    "mlm-cohort": "As `mlm` with four times the clients a round; nobody tuned for it.",
    "classify-cohort": "As `classify` with four times the clients a round; nobody tuned for it.",
}
NAMES = {"flower": "Flower", "pfl": "pfl-research", "blazefl": "BlazeFL"}
OURS = {"fedsim-ray-2-all": "", "fedsim-ray-2-needed": ", needed positions"}
"""What is compared with everybody else, and how it is called beside the work."""


def markdown(contents: Sequence[Content]) -> str:
    """The page; `contents` holds every work's results."""
    parts = [INTRODUCTION, *_warning(contents), "\n".join(_short(contents))]
    parts += ["\n".join(_section(content)) for content in contents]
    parts.append("\n".join(_trust(contents)))
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def _short(contents: Sequence[Content]) -> Iterator[str]:
    """fedsim with two Ray hosts against each of the others."""
    yield "## fedsim with two Ray hosts, against the others"
    yield ""
    yield (
        f"| work | updates/s | x best bare loop | {' | '.join(f'x {name}' for name in NAMES.values())} "
        "| first round, s | of Flower's |"
    )
    yield "|---|" + "---:|" * (4 + len(NAMES))
    for content in contents:
        rows = {row.name: row for row in summary.rows(content)}
        for ours, note in OURS.items():
            if ours in rows:
                peers = [summary.fastest(content, name) for name in NAMES]
                first = summary.ratio(content, ours, "flower", "first_round_done_s")
                cells = [
                    f"{rows[ours].updates_per_s:.1f}",
                    _number(rows[ours].relative),
                    *(_number(summary.ratio(content, ours, peer) if peer else None) for peer in peers),
                    f"{rows[ours].first_round_done_s:.1f}",
                    _number(first),
                ]
                yield f"| {content['work']['name']}{note} | {' | '.join(cells)} |"
    yield ""
    yield "x: fedsim's updates per second through theirs in the same turn; above 1, fedsim is faster. *First round*:"
    yield "from the start of the process to the end of its first round, imports and the start of Ray included."


def _section(content: Content) -> Iterator[str]:
    """One work."""
    work, rows = content["work"], summary.rows(content)
    yield f"## {work['name']}"
    yield ""
    yield f"{DESCRIPTIONS[work['name']]}"
    yield (
        f"{work['layers']} layers, hidden size {work['hidden']}, feed-forward {work['feed_forward']}, vocabulary "
        f"{work['vocabulary']:,}, {work['tokens']} tokens; {work['cohort_clients']} of {work['clients']:,} clients a "
        f"round, {work['samples']} samples each in batches of {work['batch_samples']}."
    )
    yield ""
    yield (
        "| system | runs | updates/s | slowest to fastest run | x best bare loop "
        "| first round done after, s | peak memory, MB | distance |"
    )
    yield "|---|---:|---:|---:|---:|---:|---:|---:|"
    yield from map(_line, rows)
    if content["failures"]:
        yield ""
        for name, fault in content["failures"].items():
            yield f"- {content['systems'][name]['label']} failed: {' '.join(fault.split())[:200]}"


def _line(row: Row) -> str:
    memory = f"{row.peak_bytes / 1e6:,.0f}" if row.peak_bytes else "-"
    spread = f"{row.slowest:.1f} to {row.fastest:.1f}" if row.runs > 1 else "-"
    return (
        f"| {row.label} | {row.runs} | {row.updates_per_s:.1f} | {spread} | {_number(row.relative)} "
        f"| {row.first_round_done_s:.1f} | {memory} | {row.distance:.0e} |"
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _trust(contents: Sequence[Content]) -> Iterator[str]:
    """What the numbers are, and where they come from."""
    yield "## How far to trust it"
    yield ""
    yield TRUST
    disturbed, runs = _disturbed(contents)
    yield f"- Other programs used more than {DISTURBED_CORES:g} cores during {disturbed} of these {runs} runs."
    for machine, works in _grouped({content["work"]["name"]: _machine(content) for content in contents}):
        yield f"- {machine}{works}."
    if len({content["machine"]["processor"] for content in contents}) > 1:
        yield "- Several processors: a ratio in one work is that of its processor, and says little of another work's."
    for versions, works in _grouped({content["work"]["name"]: _versions(content) for content in contents}):
        yield f"- Versions{works}: {versions}."
    missing = {content["work"]["name"]: ", ".join(NAMES[name] for name in content["missing"]) for content in contents}
    for names, works in _grouped(missing):
        yield f"- Not installed, hence not measured{works}: {names}."


def _warning(contents: Sequence[Content]) -> list[str]:
    """A first word to the reader, where the machine was busy with other things."""
    disturbed, runs = _disturbed(contents)
    if disturbed <= runs / 10:
        return []
    return [
        f"**Other programs kept more than {DISTURBED_CORES:g} cores busy during {disturbed} of the {runs} runs below. "
        "They disturb systems unequally: do not rely on these figures, and run `make bench` on a quiet machine.**"
    ]


def _disturbed(contents: Sequence[Content]) -> tuple[int, int]:
    """Runs that others disturbed, and all runs that were timed."""
    runs = [run for content in contents for run in content["timings"] if run["turn"] != MEMORY_TURN]
    return sum(run["elsewhere_cores"] > DISTURBED_CORES for run in runs), len(runs)


def _machine(content: Content) -> str:
    machine = content["machine"]
    memory_gb = machine["memory_bytes"] / 1e9
    return (
        f"{content['date']}, {machine['processor']}, {machine['cores']} cores, {memory_gb:.0f} GB of memory, "
        f"{machine['system']}, Python {machine['python']}"
    )


def _versions(content: Content) -> str:
    """Of every kind of environment."""
    found = {", ".join(f"{name} {number}" for name, number in run["versions"].items()) for run in content["timings"]}
    return "; ".join(sorted(found))


def _grouped(texts: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Every text with the works that it holds for, in brackets; without them, where it holds for all."""
    for text in dict.fromkeys(texts.values()):
        works = [work for work in texts if texts[work] == text]
        if text:
            yield text, "" if len(works) == len(texts) else f" ({', '.join(works)})"
