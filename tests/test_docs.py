"""The documentation is true where a machine can tell: links, scenarios, commands, options, modules, figures."""

import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import typer.main
import yaml
from pydantic import TypeAdapter

from fedsim.cli import app
from fedsim.cost.memory import Polynomial
from fedsim.fleet import catalog
from fedsim.methods.registry import MethodSpec, kinds
from fedsim.observe.observer import Silent
from fedsim.report.fleet import demands
from fedsim.report.units import metric
from fedsim.scenario.base import Config
from fedsim.scenario.fleet import CatalogFleet
from fedsim.scenario.load import load
from fedsim.scenario.model import Model
from fedsim.scenario.phases import PhaseChanges
from fedsim.scenario.schema import Scenario
from fedsim.scenario.server import Server
from fedsim.scenario.shelf import find
from fedsim.simulation import Request, simulate
from fedsim.survey import survey
from fedsim.trace.reader import Run, read_run
from fedsim.wire import Codec

from . import markdown
from .markdown import PAGES, ROOT
from .report.runs import run as handmade
from .runs import pretend_memory

METHODS = kinds()
AROUND = {
    "name": "name: around-a-fragment",
    "fleet": "fleet: {clients: 50}",
    "phases": "phases: {finetune: {rounds: 2, participation: {clients_per_round: 2}}}",
    "methods": "methods: {fedavg: }",
}
"""What a fragment is completed with, where it does not say it itself."""
KNOWN = [page for page in PAGES if page.name != "extending.md"]
"""A page about a method that fedsim does not have is tested with it, in tests/methods/test_registry.py."""
YAML = [(page, i, text) for page in KNOWN for i, text in enumerate(markdown.blocks(page, "yaml"))]
COMMANDS = sorted({(markdown.name(page), tuple(words)) for page in KNOWN for words in markdown.commands(page)})
QUICK = [words for _, words in COMMANDS if words in (("scenario",), ("--help",), ("schema",), ("paper",))]


@pytest.mark.parametrize("page", PAGES, ids=markdown.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in markdown.links(page):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in markdown.anchors(target), link
    for path in markdown.mentions(page):
        assert (ROOT / path).exists(), path


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, waiting = set[Path](), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached:
            continue
        reached.add(page)
        paths = [page.parent / link.partition("#")[0] for link in markdown.links(page)]
        paths += [ROOT / path for path in markdown.mentions(page)]
        waiting += [path.resolve() for path in paths if path.suffix == ".md" and path.is_file()]
    assert set(PAGES) <= reached


@pytest.mark.parametrize(("page", "text"), [(page, text) for page, _, text in YAML], ids=[
    f"{markdown.name(page)}-{i}" for page, i, _ in YAML
])  # fmt: skip
def test_yaml_is_a_scenario_or_the_sections_of_one(page: Path, text: str, tmp_path: Path) -> None:
    sections = yaml.safe_load(text)
    if "name" not in sections:
        assert sections.keys() <= Scenario.model_fields.keys()
        text = "\n".join([text, *(line for section, line in AROUND.items() if section not in sections)])
    file = tmp_path / "scenario.yaml"
    file.write_text(text, encoding="utf-8")
    load(file)


@pytest.mark.parametrize(("page", "words"), COMMANDS, ids=[" ".join(words) or "alone" for _, words in COMMANDS])
def test_commands_can_be_given(page: str, words: tuple[str, ...], tmp_path: Path) -> None:
    if words[:1] in ((), ("--help",)):
        return
    group = typer.main.get_command(app)
    context = group.make_context("fedsim", [], resilient_parsing=True)
    command = group.get_command(context, words[0])  # type: ignore[attr-defined]
    assert command is not None, f"{page} has an unknown command"
    given = command.make_context(words[0], list(words[1:]), parent=context).params
    if words[0] == "scenario" and given["name"] is not None and not given["name"].isupper():
        scenario = load(_scenario_file(given["name"], tmp_path), given["assignments"] or []).scenario
        assert set(given["method"] or ()) <= set(scenario.methods)


def _scenario_file(named: str, folder: Path) -> Path:
    """A shipped scenario, or one that a page shows in full: `two-ways.yaml` is the one with the name `two-ways`."""
    for _, _, text in YAML:
        if f"{yaml.safe_load(text).get('name')}.yaml" == named:
            file = folder / named
            file.write_text(text, encoding="utf-8")
            return file
    return find(named)


@pytest.mark.slow
@pytest.mark.parametrize("words", QUICK, ids=" ".join)
def test_quick_commands_run(words: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fedsim", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("words", [("million", "--price"), ("thousand-phones.yaml", "--price")], ids=" ".join)
def test_what_pages_price_without_text_comes_to_its_end(words: tuple[str, ...], tmp_path: Path) -> None:
    assert ("scenario", *words) in {given for _, given in COMMANDS}
    # twenty rounds show it: by default a run stops after ten in which nothing comes back
    loaded = load(_scenario_file(words[0], tmp_path), ["phases.further_pretrain.rounds=20"])
    summary = simulate(Request(loaded.scenario, loaded.base, tmp_path / "run", price=True), None, Silent())
    methods, rounds = summary["methods"], loaded.scenario.phases.federated[0].config.rounds
    assert {name: own["rounds"] for name, own in methods.items()} == dict.fromkeys(("fedavg", "fedbt"), rounds)
    # what both pages say: the whole model fits into none of these phones, FedBT's part of it into all
    assert methods["fedavg"]["upload_bytes"] == 0 < methods["fedbt"]["upload_bytes"]


@pytest.mark.parametrize("page", PAGES, ids=markdown.name)
def test_python_is_python_and_targets_of_make_exist(page: Path) -> None:
    for i, text in enumerate(markdown.blocks(page, "python")):
        compile(text, f"{markdown.name(page)}-{i}", "exec")
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for line in (line for text in markdown.blocks(page, "console") for line in text.splitlines()):
        if line.startswith("$ make "):
            assert line.split()[2] in targets, line


@pytest.mark.slow
def test_the_python_of_the_first_run_does_what_it_says(tmp_path: Path) -> None:
    (text,) = markdown.blocks(ROOT / "docs/first_run.md", "python")
    done = subprocess.run([sys.executable, "-c", text], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^fedavg +\d.*^fedbt +\d.* MB; \d+ trips were late$", done.stdout, re.MULTILINE | re.DOTALL)
    assert (tmp_path / "runs/smoke-1/run.json").is_file()


def test_every_method_has_a_page() -> None:
    assert {page.stem for page in (ROOT / "docs/methods").glob("*.md")} == set(METHODS)


@pytest.mark.parametrize("kind", METHODS)
def test_option_tables_list_exactly_the_schema(kind: str) -> None:
    found = [
        table
        for table in markdown.tables(ROOT / f"docs/methods/{kind}.md")
        if table.header == ("option", "default", "meaning")
    ]
    assert len(found) == 1
    rows = {option.strip("`"): (default.strip("`"), meaning) for option, default, meaning in found[0].rows}
    fields = dict(_fields(METHODS[kind]))
    assert set(rows) == set(fields)
    for option, (default, choices) in fields.items():
        written, meaning = rows[option]
        assert yaml.safe_load(written) == default, option
        assert all(f"`{choice}`" in meaning for choice in choices), option


def test_the_options_of_a_codec_are_on_its_page() -> None:
    (table, *_) = markdown.tables(ROOT / "docs/compression.md")
    written = {row[0].strip("`"): (yaml.safe_load(row[1].strip("`")), row[2]) for row in table.rows}
    fields = dict(_fields(Codec))
    assert {name: row[0] for name, row in written.items()} == {name: field[0] for name, field in fields.items()}
    assert all(f"`{choice}`" in written[name][1] for name, (_, choices) in fields.items() for choice in choices)


def _fields(section: type[Config], prefix: str = "") -> list[tuple[str, tuple[Any, tuple[str, ...]]]]:
    """Options with a dotted name: default, and the words that may be chosen."""
    found: list[tuple[str, tuple[Any, tuple[str, ...]]]] = []
    for name, field in section.model_fields.items():
        kind = field.annotation
        if name == "kind" and not prefix:
            continue
        if kind is Server:  # its keys are on FedOpt's page
            found.append((name, ({"kind": field.default.kind}, ())))
        elif kind in (Codec, PhaseChanges):  # their keys are on pages of their own
            found.append((name, ({}, ())))
        elif isinstance(kind, type) and issubclass(kind, Config) and kind is not Model:
            found += _fields(kind, f"{prefix}{name}.")
        else:
            choices = get_args(kind) if get_origin(kind) is Literal else ()
            default = list(field.default) if isinstance(field.default, tuple) else field.default
            found.append((f"{prefix}{name}", (default, choices)))
    return found


def test_the_architecture_page_has_a_line_for_every_module() -> None:
    page = ROOT / "docs/architecture.md"
    listed = [row[0].strip("`") for table in markdown.tables(page) if table.header[0] == "module" for row in table.rows]
    assert len(listed) == len(set(listed))
    modules = [path for path in (ROOT / "fedsim").rglob("*.py") if path.name != "__init__.py"]
    # a package's own file is listed where there is more in it than a sentence
    modules += [path for path in (ROOT / "fedsim").glob("*/__init__.py") if "def " in path.read_text(encoding="utf-8")]
    assert set(listed) == {str(path.relative_to(ROOT / "fedsim")) for path in modules}


def test_the_options_of_methods_are_those_of_the_scenario() -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(MethodSpec)
    for kind, section in METHODS.items():
        assert type(adapter.validate_python({"kind": kind})) is section


def _weak_phones() -> tuple[dict[tuple[str, str], tuple[str, ...]], Scenario]:
    """Rows of the table on the fleet page by method and phase, and the scenario that they are of."""
    (table,) = (one for one in markdown.tables(ROOT / "docs/fleet.md") if one.header[:2] == ("method", "phase"))
    return {(row[0], row[1]): row[2:] for row in table.rows}, load(find("weak_phones")).scenario


def test_every_method_of_the_weak_phones_is_on_the_page_and_every_class_as_the_catalogue_has_it() -> None:
    rows, scenario = _weak_phones()
    assert list(rows) == [(name, phase.name) for name in scenario.methods for phase in scenario.phases.federated]
    source = scenario.fleet.source
    assert isinstance(source, CatalogFleet)
    (table,) = (one for one in markdown.tables(ROOT / "docs/fleet.md") if one.header[0] == "class")
    assert {name.strip("`"): (share, memory) for name, share, memory in table.rows} == {
        name: (f"{100 * share:.0f} %", metric(catalog.devices()[name].memory_bytes, "B"))
        for name, share in source.devices.items()
    }


@pytest.mark.slow
def test_what_the_page_says_of_weak_phones_comes_out_of_the_simulator() -> None:
    rows, scenario = _weak_phones()
    some = {name: scenario.methods[name] for name in ("fedavg", "fedbt-3", "lora")}
    found = demands(survey(scenario.model_copy(update={"methods": some}), ROOT / "scenarios", 1000, Silent()))
    assert len(found.rows) == 2 * len(some)
    for method, phase, *cells in found.rows:
        assert rows[method, phase] == (*cells[:3], cells[4])


@pytest.mark.parametrize(("name", "unit", "size"), [("pretraining", "MiB", 2**20), ("finetuning", "MB", 10**6)])
def test_figures_of_the_fedbt_page_come_out_of_the_simulator(
    name: str, unit: str, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # measuring memory takes half a minute for this many models of this size, and no figure here depends on it
    pretend_memory(monkeypatch, lambda shape, optimizer: Polynomial())
    page = ROOT / "docs/methods/fedbt.md"
    rows = {
        row[1].strip("`"): dict(zip(table.header, row, strict=True))
        for table in markdown.tables(page)
        if "payload, ours" in table.header and f" {unit}" in table.rows[0][3]
        for row in table.rows
    }
    run = _priced(f"fedbt_paper_{name}", page, set(rows), tmp_path)
    trips = run.trips.astype({"method": str}).groupby("method")
    payload = trips["upload_bytes"].mean() / size
    flops = trips["flops_forward"].sum() + trips["flops_backward"].sum()
    layers = _layers_only(run)
    assert set(rows) == set(run.methods)
    for method, row in rows.items():
        assert f"{payload[method]:.3f} {unit}" in row["payload, ours"]
        assert row["FLOPs"] == f"{100 * flops[method] / flops['fedavg']:.1f} %"
        assert row["layers only"] == f"{100 * layers[method] / layers['fedavg']:.1f} %"
    both = run.rounds.groupby("method")[["upload_bytes", "download_bytes"]].sum().sum(axis=1)
    assert f"{100 * both['fedbt'] / both['fedavg']:.1f} %" in page.read_text(encoding="utf-8")


def _priced(name: str, page: Path, wanted: set[str], folder: Path) -> Run:
    """The scenario in price mode, with those of its methods, and of the page's ablations, that are wanted."""
    loaded = load(find(name))
    (text,) = markdown.blocks(page, "yaml")
    file = folder / "ablations.yaml"
    file.write_text("\n".join([text, *(line for key, line in AROUND.items() if key != "methods")]), encoding="utf-8")
    methods = load(file).scenario.methods | loaded.scenario.methods
    scenario = loaded.scenario.model_copy(update={"methods": {k: m for k, m in methods.items() if k in wanted}})
    simulate(Request(scenario, loaded.base, folder / "run", price=True), None, Silent())
    return read_run(folder / "run")


def _layers_only(run: Run) -> dict[str, float]:
    """Layers-only work of each method, in forward FLOPs per token of a layer."""
    work = {}
    for method, stages in run.stages.groupby("method"):
        own = run.scenario["methods"][method]["model"] or run.scenario["model"]
        h, f, tokens = own["hidden"], own["feed_forward"], run.scenario["data"]["max_tokens"]
        share = (stages["flops_layers_share"] * stages["rounds"]).sum() / stages["rounds"].sum()
        work[str(method)] = float(share) * own["layers"] * (8 * h * h + 4 * h * f + 4 * h * tokens)
    return work


@pytest.mark.slow
def test_the_picture_is_drawn_from_a_run_and_fits_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedsim.trace.reader.read_run", {"a-run": handmade()}.__getitem__)
    draw = runpy.run_path(str(ROOT / "docs/make_picture.py"))["main"]
    draw("a-run", str(tmp_path / "picture.png"))
    for picture in (tmp_path / "picture.png", ROOT / "docs/quickstart.png"):
        content = picture.read_bytes()
        assert int.from_bytes(content[16:20]) == 1440  # the width, in a PNG's header
        assert len(content) < 400_000


def test_the_drawings_are_what_their_script_draws(tmp_path: Path) -> None:
    runpy.run_path(str(ROOT / "docs/make_drawings.py"))["main"](str(tmp_path))
    for drawing in ("round.svg", "stages.svg"):
        drawn, kept = (tmp_path / drawing).read_bytes(), (ROOT / "docs" / drawing).read_bytes()
        assert drawn == kept, "python docs/make_drawings.py"
