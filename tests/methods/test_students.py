"""DistilBERT and TinyBERT: what students are, where they start, what their distillation costs, and what is refused."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import numpy as np
import pytest
import torch
import yaml
from pydantic import ValidationError
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel

import fedsim
from fedsim import Run, central
from fedsim.cost.flops import flops
from fedsim.cost.memory import Polynomial
from fedsim.engine.base import Engine
from fedsim.engine.inline import InlineEngine
from fedsim.errors import FedsimError, UserError
from fedsim.methods.distilbert import DistilBERT, DistilBERTGeneral, DistilBERTTask
from fedsim.methods.tinybert import TinyBERT, TinyBERTGeneral, TinyBERTTask
from fedsim.model.architecture import Architecture, Head, LocalShape
from fedsim.model.layout import initialise, layouts, pack, packed_layout
from fedsim.model.pretrained import write
from fedsim.model.student import averaged, copied, skipped
from fedsim.observe.observer import Silent
from fedsim.phases import prepare
from fedsim.plan import PROJECTION, TEACHER, full
from fedsim.rng import stream
from fedsim.scenario.base import Config
from fedsim.scenario.explain import explain
from fedsim.scenario.schema import Scenario
from fedsim.teaching import Teaching
from fedsim.world import build
from tests import runs
from tests.runs import Dying, Killed, Lent, hashes, pretend_memory, rows, small

from .. import markdown
from ..test_same_bits import Pools

BERT_BASE = Architecture("bert", 30522, 768, 12, 12, 3072, 512, 0.1)
MLM, TOPICS = Head("mlm"), Head("pooler", 3)
STEPS: dict[str, Any] = {"steps": 2, "batch_samples": 4, "optimizer": {"learning_rate": 1e-3}}
SERVER: dict[str, Any] = {"training": STEPS}
CLIENTS: dict[str, Any] = {"where": "clients"}
METHODS: dict[str, dict[str, Any]] = {
    "fedavg": {},
    "light": {"kind": "distilbert"},
    "distil_server": {"kind": "distilbert", "general": SERVER, "task": {**SERVER, "teacher": STEPS}},
    "distil_clients": {"kind": "distilbert", "general": CLIENTS, "task": {**CLIENTS, "teacher": STEPS}},
    "tiny_server": {
        "kind": "tinybert",
        "size": 6,
        "general": SERVER,
        "task": {**SERVER, "teacher": STEPS, "intermediate": STEPS},
    },
    "tiny_clients": {"kind": "tinybert", "general": CLIENTS, "task": {**CLIENTS, "teacher": STEPS}},
    "tiny_both": {"kind": "tinybert", "general": SERVER, "task": {**CLIENTS, "teacher": STEPS}},
}


# --- sizes and starts


def parameters(a: Architecture) -> int:
    """Of the encoder."""
    return sum(layout.size for name, layout in layouts(a, MLM).items() if name != "head")


def test_derived_sizes_are_the_published_ones() -> None:
    light = DistilBERT().sizes(BERT_BASE)
    assert (light.family, light.layers, light.hidden) == ("distilbert", 6, 768)
    assert parameters(light) == 66_362_880
    with torch.device("meta"):
        assert sum(p.numel() for p in DistilBertModel(DistilBertConfig()).parameters()) == 66_362_880
    four, six = TinyBERT().sizes(BERT_BASE), TinyBERT(size=6).sizes(BERT_BASE)
    assert (four.layers, four.hidden, four.feed_forward, four.heads) == (4, 312, 1200, 12)
    assert (six.layers, six.hidden, six.feed_forward, six.heads) == (6, 768, 3072, 12)
    for student, millions in ((four, 14.35), (six, 66.96)):
        config = BertConfig(
            hidden_size=student.hidden,
            num_hidden_layers=student.layers,
            intermediate_size=student.feed_forward,
        )
        with torch.device("meta"):
            model = BertModel(config)
        whole = sum(p.numel() for p in model.parameters())
        assert whole == pytest.approx(millions * 1e6, abs=5e3)
        assert parameters(student) == whole - student.hidden * (student.hidden + 1)  # transformers counts a pooler


@pytest.mark.parametrize(
    ("layers", "size", "wanted"),
    [(12, 4, 4), (12, 6, 6), (24, 4, 8), (24, 6, 12), (10, 4, 2), (9, 6, 3), (4, 4, 1), (7, 6, 1)],
)
def test_depths_of_tinybert_divide_the_teachers(layers: int, size: Any, wanted: int) -> None:
    assert TinyBERT(size=size).sizes(replace(BERT_BASE, layers=layers)).layers == wanted


def test_pruned_teachers_have_whole_students_and_cannot_be_compared_head_by_head() -> None:
    pruned = replace(BERT_BASE, kept_heads=(tuple(range(11)), *[tuple(range(12))] * 11))
    for method in (DistilBERT(), TinyBERT(), TinyBERT(size=6)):
        student = method.sizes(pruned)
        assert student.kept_heads is None
        assert student == method.sizes(BERT_BASE)
    told = [problem.message for problem in DistilBERT().misfits(pruned, DistilBERT().sizes(pruned))]
    assert told == ["copies the teacher (`model`), some of whose heads are pruned: set it to random"]
    compared = TinyBERT.model_validate({"general": CLIENTS})
    (fault,) = compared.misfits(pruned, compared.sizes(pruned))
    assert fault.key == ("general", "loss", "attention")
    assert fault.message == "compares head by head, and some heads are pruned; set it to off"


def test_copied_layers_are_those_of_the_published_script() -> None:
    assert skipped(6, 12) == (0, 2, 4, 7, 9, 11)
    assert (skipped(1, 4), skipped(2, 4), skipped(3, 4), skipped(4, 4)) == ((0,), (0, 3), (0, 2, 3), (0, 1, 2, 3))
    assert averaged(6, 12) == ((0, 1), (2, 3), (4, 5), (6, 7), (8, 9), (10, 11))
    assert averaged(2, 5) == ((0, 1, 2), (3, 4))


def test_a_copied_student_is_distilbert_with_those_layers_of_bert(tmp_path: Path) -> None:
    """The names on both sides are `transformers`' own: nothing of the student's layout is taken for granted."""
    teacher = Architecture("bert", 80, 24, 12, 3, 40, 20, 0.0)
    student = DistilBERT().sizes(teacher)
    groups = {n: initialise(layout, stream(1, n)) + np.float32(0.01) for n, layout in layouts(teacher, MLM).items()}
    fresh = {n: initialise(layout, stream(2, n)) for n, layout in layouts(student, MLM).items()}
    write(tmp_path / "teacher", teacher, MLM, groups)
    bert = BertModel.from_pretrained(tmp_path / "teacher", add_pooling_layer=False).state_dict()
    names = {
        "attention.self.query": "attention.q_lin",
        "attention.self.key": "attention.k_lin",
        "attention.self.value": "attention.v_lin",
        "attention.output.dense": "attention.out_lin",
        "attention.output.LayerNorm": "sa_layer_norm",
        "intermediate.dense": "ffn.lin1",
        "output.dense": "ffn.lin2",
        "output.LayerNorm": "output_layer_norm",
    }
    for transform in (False, True):
        made = copied(groups, teacher, student, skipped(6, 12), fresh, transform)
        write(tmp_path / "student", student, MLM, made)
        light = DistilBertModel.from_pretrained(tmp_path / "student").state_dict()
        for place, layer in enumerate((0, 2, 4, 7, 9, 11)):
            for theirs, ours in names.items():
                for leaf in ("weight", "bias"):
                    copy = light[f"transformer.layer.{place}.{ours}.{leaf}"]
                    assert torch.equal(copy, bert[f"encoder.layer.{layer}.{theirs}.{leaf}"])
        for name in ("word_embeddings.weight", "position_embeddings.weight", "LayerNorm.weight", "LayerNorm.bias"):
            assert torch.equal(light[f"embeddings.{name}"], bert[f"embeddings.{name}"])
        parts = {
            which: layouts(student, MLM)["head"].split(values["head"])
            for which, values in (("made", made), ("teacher", groups), ("fresh", fresh))
        }
        assert np.array_equal(parts["made"]["bias"], parts["teacher"]["bias"])
        source = "teacher" if transform else "fresh"
        assert all(np.array_equal(parts["made"][n], parts[source][n]) for n in ("dense.weight", "norm.bias"))


def test_fused_layers_are_means_of_neighbours() -> None:
    teacher = Architecture("bert", 30, 8, 4, 2, 12, 10, 0.0)
    student = replace(teacher, layers=2)
    groups = {n: initialise(layout, stream(1, n)) for n, layout in layouts(teacher, MLM).items()}
    fresh = {n: initialise(layout, stream(2, n)) for n, layout in layouts(student, MLM).items()}
    made = copied(groups, teacher, student, averaged(2, 4), fresh, False)
    assert np.allclose(made["layer.0"], (groups["layer.0"] + groups["layer.1"]) / 2, rtol=0, atol=1e-8)
    assert np.allclose(made["layer.1"], (groups["layer.2"] + groups["layer.3"]) / 2, rtol=0, atol=1e-8)
    assert np.array_equal(made["embeddings"], groups["embeddings"])


# --- a run of every method


@pytest.fixture(scope="module")
def ended(world: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """The same scenario trained and priced."""
    out = tmp_path_factory.mktemp("students")
    runs.run(small(METHODS), world, out / "run")
    runs.run(small(METHODS), world, out / "price", engine=None)
    return fedsim.read_run(out / "run"), fedsim.read_run(out / "price")


def sizes(run: Run) -> tuple[Architecture, Mapping[str, Architecture]]:
    """The teacher and the students of `small`."""
    vocabulary = 146
    teacher = Architecture("bert", vocabulary, 16, 4, 2, 32, 24, 0.1)
    tiny, light = TinyBERT().sizes(teacher), DistilBERT().sizes(teacher)
    six = TinyBERT(size=6).sizes(teacher)
    return teacher, {
        "tiny_clients": tiny,
        "tiny_both": tiny,
        "tiny_server": six,
        "distil_clients": light,
        "light": light,
    }


def test_price_mode_has_the_same_trips_and_lessons(ended: tuple[Run, Run]) -> None:
    trained, priced = ended
    for table in ("trips", "lessons", "stages"):
        own, other = (getattr(run, table).drop(columns="loss", errors="ignore") for run in ended)
        assert own.equals(other), table
    assert trained.lessons.loss.notna().all()
    assert priced.lessons.loss.isna().all()
    for name, summary in trained.summary["methods"].items():
        own = trained.lessons[trained.lessons.method == name]
        totals = summary["server_flops_forward"], summary["server_flops_backward"]
        assert totals == (own.flops_forward.sum(), own.flops_backward.sum())


def test_lessons_come_in_order_before_their_phase(ended: tuple[Run, Run]) -> None:
    lessons = ended[0].lessons
    found = {
        name: [(row.phase, row.round, row.lesson) for row in rows(lessons[lessons.method == name])] for name in METHODS
    }
    general, task = ("pretrain", -1), ("finetune", 3)
    assert found == {
        "fedavg": [],
        "light": [],
        "distil_server": [(*general, "general distillation"), (*task, "teacher"), (*task, "task distillation")],
        "distil_clients": [(*task, "teacher")],
        "tiny_server": [
            (*general, "general layers"),
            (*task, "teacher"),
            (*task, "task layers"),
            (*task, "task prediction"),
        ],
        "tiny_clients": [(*task, "teacher")],
        "tiny_both": [(*general, "general layers"), (*task, "teacher")],
    }
    assert (lessons.steps == 2).all()
    assert (lessons.samples == 8).all()
    assert (lessons.end_s > lessons.start_s).all()
    for name in METHODS:
        rounds, own = ended[0].rounds, lessons[lessons.method == name]
        at = rounds[rounds.method == name].set_index("round").start_s
        after = own[own["round"] == 3].end_s.max() if (own["round"] == 3).any() else None
        assert after is None or at[3] == after


def test_a_lesson_costs_what_its_batches_cost(ended: tuple[Run, Run], world: Path, tmp_path: Path) -> None:
    made, item = prepared(world, tmp_path, METHODS["distil_server"])
    assert made.tokens is not None
    teacher, students = sizes(ended[0])
    lessons = ended[0].lessons[ended[0].lessons.method == "distil_server"]
    for row, (_, lesson) in zip(rows(lessons), item.lessons_before(-1) + item.lessons_before(3), strict=True):
        draw = stream(3, lesson.name, "batches")
        tokens = squares = positions = 0
        for _ in range(2):
            lengths = made.tokens.ids.lengths[draw.choice(made.central, 4, replace=False)]
            width = min(24, -(-int(lengths.max()) // 8) * 8)
            tokens, squares = tokens + 4 * width, squares + 4 * width**2
            # soft labels at every token; one answer a sample
            positions += int(lengths.sum()) if row.phase == "pretrain" else 4
        # who looks into a student looks at all positions
        head = replace(MLM if row.phase == "pretrain" else TOPICS, everywhere=row.lesson != "teacher")
        own = flops(
            LocalShape.of(
                teacher if row.lesson == "teacher" else students["light"],
                head,
                full(4 if row.lesson == "teacher" else 2),
            )
        )
        beside = flops(LocalShape(teacher, head, 4)).forward
        parts = [own.forward] if row.lesson == "teacher" else [own.forward, beside]
        forward = sum(c.token * tokens + c.squared_token * squares + c.position * positions for c in parts)
        back = own.backward
        backward = back.token * tokens + back.squared_token * squares + back.position * positions
        assert (row.tokens, row.flops_forward, row.flops_backward) == (tokens, forward, backward)


def test_clients_pay_for_the_teacher_once_and_for_the_projection_each_time(ended: tuple[Run, Run]) -> None:
    teacher, students = sizes(ended[0])
    trips = ended[0].trips
    tags = {"further_pretrain": MLM, "finetune": TOPICS}
    for name in ("distil_clients", "tiny_clients"):
        seen: set[tuple[str, int]] = set()
        own = trips[trips.method == name]
        for trip in rows(own[own.download_bytes == own.price_download_bytes]):
            head = tags[str(trip.phase)]
            whole = 4 * packed_layout(teacher, head).size
            student = 4 * sum(layout.size for layout in layouts(students[name], head).values())
            projection = 4 * (students[name].hidden * 16 + 16) if name == "tiny_clients" and trip.stage == 0 else 0
            first = (str(trip.phase), trip.client) not in seen
            seen.add((str(trip.phase), trip.client))
            assert trip.download_bytes <= student + projection + whole
            assert (trip.download_bytes > student + projection) == first
            if trip.outcome != "completed":
                continue
            headless = 4 * layouts(students[name], head)["head"].size if projection else 0
            assert trip.upload_bytes == student + projection - headless


def test_teachers_are_part_of_a_clients_memory_and_flops(ended: tuple[Run, Run]) -> None:
    teacher, _ = sizes(ended[0])
    trips = ended[0].trips.set_index(["round", "client"])
    for round_ in (0, 3):
        head = MLM if round_ == 0 else TOPICS
        plain = trips[trips.method == "light"].loc[round_]
        taught = trips[trips.method == "distil_clients"].loc[round_]
        assert (taught.memory_bytes - plain.memory_bytes > 4 * packed_layout(teacher, head).size).all()
        # twice as deep as the student, forward only
        assert (taught.price_flops_forward > 2.5 * plain.price_flops_forward).all()


def test_only_what_learns_is_sent(ended: tuple[Run, Run]) -> None:
    stages = ended[0].stages
    tiny = stages[stages.method == "tiny_clients"]
    assert tiny.trained.tolist() == ["light model, layers", "light model, layers", "light model, prediction"]
    rounds = ended[0].rounds
    groups = rounds[rounds.method == "tiny_clients"].trained_groups.tolist()
    assert groups[0] == groups[3] == f"embeddings layer.0 {PROJECTION}"
    assert groups[4] == "embeddings head layer.0"
    assert not any(TEACHER in names for names in rounds.trained_groups)


# --- the same bits

KEPT = ("distil_server", "tiny_clients", "tiny_both")


@pytest.fixture
def cold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that the server has trained is found in the cache."""
    monkeypatch.setenv("FEDSIM_CACHE", str(tmp_path / "cache"))


def own_hashes(run: Run) -> dict[str, tuple[str | None, str]]:
    return {name: found for name, found in hashes(run.summary).items() if name in KEPT}


@pytest.mark.slow
def test_on_two_hosts(ended: tuple[Run, Run], cold: None, world: Path, tmp_path: Path, pools: Pools) -> None:
    def engine() -> Engine:
        return Lent(pools(2), str(tmp_path))

    summary = runs.run(small(METHODS), world, tmp_path / "run", engine, methods=KEPT)
    assert hashes(summary) == own_hashes(ended[0])


@pytest.mark.slow
@pytest.mark.parametrize("results", [(2, 5), (9, 12)])
def test_killed_and_resumed(
    ended: tuple[Run, Run], cold: None, world: Path, tmp_path: Path, results: tuple[int, int]
) -> None:
    """Between lessons, and in the rounds after them."""
    out = tmp_path / "run"
    with pytest.raises(Killed):
        runs.run(small(METHODS), world, out, lambda: Dying(InlineEngine(), 14 + results[0]), methods=KEPT)
    with pytest.raises(Killed):
        runs.resume(out, lambda: Dying(InlineEngine(), 14 + results[1]))
    assert hashes(runs.resume(out)) == own_hashes(ended[0])


# --- what the server leaves


def prepared(world: Path, folder: Path, method: dict[str, Any], **changes: Any) -> tuple[Any, Any]:
    scenario = Scenario.model_validate(small({"own": method}, **changes))
    made = build(scenario, world, folder, Silent())
    return made, prepare(made, "own")


def test_a_student_starts_from_its_pretrained_teacher(world: Path, tmp_path: Path) -> None:
    made, item = prepared(world, tmp_path, {"kind": "distilbert", "layer_init": "skip"})
    teacher_world, teacher = prepared(world, tmp_path / "fedavg", {"kind": "fedavg"})
    with InlineEngine() as engine:
        student = Teaching(item, made, engine, Silent()).start()
        whole = Teaching(teacher, teacher_world, engine, Silent()).start()
    assert np.array_equal(student["layer.0"], whole["layer.0"])
    assert np.array_equal(student["layer.1"], whole["layer.3"])
    assert list(student) == ["embeddings", "layer.0", "layer.1", "head"]


def test_distillation_on_the_server_is_training_on_the_public_share(world: Path, tmp_path: Path) -> None:
    """By hand: the same batches and masks, the teacher frozen, AdamW."""
    made, item = prepared(world, tmp_path, METHODS["tiny_both"])
    with InlineEngine() as engine:
        teaching = Teaching(item, made, engine, Silent())
        start, after = teaching._student(), teaching.start()
        again = Teaching(item, made, engine, Silent()).start()
    assert all(np.array_equal(after[name], again[name]) for name in after)
    assert set(start) == {"embeddings", "layer.0", "head", PROJECTION}
    moved = {name for name in start if not np.array_equal(start[name], after[name])}
    assert moved == {"embeddings", "layer.0", PROJECTION}  # the head learns nothing from layers
    assert after[TEACHER].size == 0  # clients learn from nobody in the first phase
    (lesson,) = item.general
    assert int(central.work(made, lesson).samples[0]) == 8
    assert pack({"a": np.ones(2, np.float32), "b": np.zeros(1, np.float32)}).tolist() == [1.0, 1.0, 0.0]


def test_a_lesson_that_diverges_is_told_of(world: Path, tmp_path: Path) -> None:
    wild = {"steps": 4, "batch_samples": 4, "optimizer": {"kind": "sgd", "learning_rate": 1e20}}
    methods = {"own": {"kind": "distilbert", "general": {"training": wild}}}
    with pytest.raises(FedsimError, match="general distillation on the server left no finite model after 4 steps"):
        runs.run(small(methods), world, tmp_path / "run")


# --- the pages


def keys(section: type[Config], prefix: str = "") -> Iterator[tuple[str, object, tuple[str, ...]]]:
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Config):
            yield from keys(kind, f"{name}.")
        else:
            yield f"{prefix}{name}", field.default, get_args(kind) if get_origin(kind) is Literal else ()


@pytest.mark.parametrize(
    ("page", "sections"),
    [("distilbert", (DistilBERTGeneral, DistilBERTTask)), ("tinybert", (TinyBERTGeneral, TinyBERTTask))],
)
def test_the_pages_list_exactly_the_keys_of_their_sections(page: str, sections: tuple[type[Config], ...]) -> None:
    tables = [t for t in markdown.tables(markdown.ROOT / f"docs/methods/{page}.md") if t.header[0] == "key"]
    for table, section in zip(tables, sections, strict=True):
        rows = {name.strip("`"): (yaml.safe_load(default.strip("`")), text) for name, default, text in table.rows}
        wanted = {name: (default, choices) for name, default, choices in keys(section)}
        assert {name: row[0] for name, row in rows.items()} == {name: own[0] for name, own in wanted.items()}
        assert all(f"`{choice}`" in rows[name][1] for name, (_, choices) in wanted.items() for choice in choices)


def test_the_prices_on_the_page_come_out_of_the_simulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # no figure here depends on memory, which takes long to measure at this size
    pretend_memory(monkeypatch, lambda shape, optimizer: Polynomial())
    page = markdown.ROOT / "docs/methods/distilbert.md"
    (text,) = (block for block in markdown.blocks(page, "yaml") if "declared" in block)
    runs.run(yaml.safe_load(text), tmp_path, tmp_path / "run", engine=None)
    trips = fedsim.read_run(tmp_path / "run").trips.astype({"method": str}).groupby("method")
    total = (trips.flops_forward.sum() + trips.flops_backward.sum()).to_dict()
    (table,) = (t for t in markdown.tables(page) if t.header[0] == "method")
    assert len(table.rows) == len(total) == 6
    for name, upload, download, work in table.rows:
        own = trips.get_group(name.strip("`"))
        assert {f"{n / 1e6:.3f}" for n in own.upload_bytes} == {upload}
        assert {f"{n / 1e6:.3f}" for n in own.download_bytes} == {download}
        assert f"{100 * total[name.strip('`')] / total['fedavg']:.1f} %" == work


# --- refusals


def faults(methods: dict[str, Any], **changes: Any) -> list[str]:
    with pytest.raises(ValidationError) as error:
        Scenario.model_validate(small(methods, **changes))
    return [f"{'.'.join(map(str, problem.key))}: {problem.message}" for problem in explain(error.value, Scenario)]


TINY_MODEL = {"hidden": 8, "layers": 2, "heads": 4, "feed_forward": 8, "max_positions": 24}


@pytest.mark.parametrize(
    ("method", "changes", "fault"),
    [
        (
            {"kind": "distilbert", "general": SERVER},
            {"data__central_fraction": 0.0, "phases__pretrain": None, "model": {"checkpoint": "b"}},
            "methods.own.general: needs a public share of the text: give data.central_fraction a value between 0 and 1",
        ),
        (
            {"kind": "tinybert", "model": TINY_MODEL, "general": CLIENTS},
            {},
            "methods.own.general.loss.attention: compares head by head: the teacher has 2 heads, the student 4; "
            "set it to off, or give both the same",
        ),
        (
            {"kind": "tinybert", "general": {**CLIENTS, "loss": {"layer_map": "list", "layers": [5]}}},
            {},
            "methods.own.general.loss.layers.0: is 5, the teacher's layers are 1 to 4",
        ),
        (
            {"kind": "tinybert", "general": {**CLIENTS, "loss": {"layer_map": "list", "layers": [1, 2]}}},
            {},
            "methods.own.general.loss.layers: must have 1 entries, one for each layer of the student; given 2",
        ),
        (
            {"kind": "tinybert", "general": {**CLIENTS, "loss": {"layer_map": "list"}}},
            {},
            "methods.own.general.loss.layers: goes with layer_map: list, and is required by it",
        ),
        (
            {"kind": "tinybert", "model": {**TINY_MODEL, "layers": 3, "heads": 2}, "general": CLIENTS},
            {},
            "methods.own.general.loss.layer_map: is uniform: a uniform map needs a divisor of the teacher's 4 layers, "
            "the student has 3",
        ),
        (
            {"kind": "tinybert", "model": {**TINY_MODEL, "heads": 2, "vocabulary": 999}, "general": CLIENTS},
            {"model__vocabulary": 500},
            "methods.own.model.vocabulary: is 999, its teacher (`model`) has 500: they must share one",
        ),
        (
            {"kind": "distilbert", "model": {**TINY_MODEL, "heads": 2}},
            {},
            "methods.own.layer_init: copies the teacher (`model`), whose hidden is 16, the student's 8: "
            "set it to random",
        ),
        (
            {"kind": "distilbert", "layer_init": "random", "model": {**TINY_MODEL, "heads": 2}, "general": CLIENTS},
            {},
            "methods.own.general.loss.cosine: compares states of one width: the teacher's hidden is 16, "
            "the student's 8; set it to 0",
        ),
        (
            {"kind": "distilbert", "general": {"where": "server"}},
            {},
            "methods.own.general.training: is required with where: server: give at least its steps",
        ),
        (
            {"kind": "distilbert", "general": {**CLIENTS, **SERVER}},
            {},
            "methods.own.general.training: goes with where: server; clients train as the phase says",
        ),
        (
            {"kind": "distilbert", "task": {**CLIENTS}},
            {},
            "methods.own.task.teacher: is required: its teacher has no head for the task",
        ),
        (
            {"kind": "distilbert", "task": {**CLIENTS, "teacher": STEPS}},
            {"phases__finetune": None},
            "methods.own.task: needs phases.finetune, which the scenario does not have",
        ),
        (
            {"kind": "distilbert", "general": CLIENTS},
            {"phases__pretrain": None},
            "methods.own.general: its teacher has learned nothing: give phases.pretrain or model.checkpoint",
        ),
        (
            {"kind": "tinybert", "task": {**CLIENTS, "teacher": STEPS, "intermediate_rounds": 3}},
            {},
            "methods.own.task.intermediate_rounds: is 3, phases.finetune has 2 rounds",
        ),
        (
            {"kind": "distilbert", "general": {**CLIENTS, "loss": {"soft_labels": 0.0, "cosine": 0.0}}},
            {},
            "methods.own.general.loss.soft_labels: is 0, and so is cosine: nothing is learned from the teacher",
        ),
        (
            {"kind": "tinybert", "model": {**TINY_MODEL, "heads": 2}, "size": 6},
            {},
            "methods.own.size: is not used: `model` says the student's sizes",
        ),
    ],
    ids=lambda value: value.split(":")[0].removeprefix("methods.own.") if isinstance(value, str) else "",
)
def test_what_cannot_be_meant_is_refused(method: dict[str, Any], changes: dict[str, Any], fault: str) -> None:
    assert fault in faults({"own": method}, **changes)


def test_a_server_of_no_known_class_is_told_of_before_anything_is_trained(world: Path, tmp_path: Path) -> None:
    methods = {"fedavg": {}, "own": {"kind": "distilbert", "device": "mainframe"}}
    with pytest.raises(UserError, match=r"methods\.own\.device: .*server_gpu"):
        runs.run(small(methods), world, tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_public_share_without_the_label_is_told_of_before_anything_is_trained(world: Path, tmp_path: Path) -> None:
    made, item = prepared(world, tmp_path, METHODS["distil_clients"])
    assert made.tokens is not None
    unlabelled = replace(made.tokens, labels={"topic": np.full(len(made.tokens.test), -1, np.int32)})
    with pytest.raises(
        UserError, match=r"data\.central_fraction: leaves no sample with a label 'topic' for the server"
    ):
        Teaching(item, replace(made, tokens=unlabelled), None, Silent())


def test_sizes_of_checkpoints_are_checked_before_the_first_round(world: Path, tmp_path: Path) -> None:
    teacher = Architecture("bert", 146, 16, 4, 2, 32, 24, 0.0)
    folder = tmp_path / "teacher"
    write(
        folder,
        teacher,
        MLM,
        {n: initialise(lay, stream(1, n)) for n, lay in layouts(teacher, MLM).items()},
    )
    (folder / "tokenizer.json").write_text(json.dumps({}))
    method = {"kind": "tinybert", "model": {**TINY_MODEL, "heads": 4}, "general": CLIENTS}
    scenario = Scenario.model_validate(small({"own": method}, model__heads=4))
    made = build(scenario, world, tmp_path / "run", Silent())
    model = scenario.model.model_copy(update={"checkpoint": str(folder)})
    swapped = replace(made, scenario=scenario.model_copy(update={"model": model}))
    with pytest.raises(UserError, match=r"methods\.own\.general\.loss\.attention: compares head by head"):
        prepare(swapped, "own")
