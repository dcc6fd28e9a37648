"""In which order the layers of an encoder-decoder join: symmetric and asymmetric growth, our adaptation of ProgFed."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsim.methods.base import Fill, PhaseName, Stage
from fedsim.methods.fedavg import FedAvg
from fedsim.methods.growth import asymmetric, bottom_up, sources, symmetric
from fedsim.methods.progfed import ProgFed, stage_lengths
from fedsim.model.architecture import Architecture, Decoder, Head
from fedsim.papers.base import one_batch, spent
from fedsim.plan import full
from fedsim.scenario.phases import Phases
from fedsim.scenario.schema import Scenario
from tests.cost.oracles import BART_BASE
from tests.markdown import ROOT
from tests.runs import small

MLM, POOLER, TAGS = Head("mlm"), Head("pooler", 5), Head("tokens", 7)
ORDERS = pytest.mark.parametrize("order", ["symmetric", "asymmetric"])


def bart(encoder: int, decoder: int) -> Architecture:
    return Architecture("bart", 100, 16, encoder + decoder, 2, 32, 24, 0.1, decoder=Decoder(decoder))


def grown(
    order: str,
    sides: tuple[int, int],
    rounds: int = 24,
    task: Head = MLM,
    phase: PhaseName = "further_pretrain",
    **options: Any,
) -> Sequence[Stage]:
    return ProgFed.model_validate({"growth": order, phase: options}).stages(phase, rounds, bart(*sides), task)


def active(stages: Sequence[Stage]) -> list[tuple[int, ...]]:
    return [stage.plans[0].layers.slots() for stage in stages]  # type: ignore[misc]


def test_symmetric_growth_goes_from_both_ends_to_the_middle() -> None:
    built = grown("symmetric", (6, 6), stages=3)
    assert active(built) == [
        (0, 1, 10, 11),
        (0, 1, 2, 3, 8, 9, 10, 11),
        tuple(range(12)),
    ]
    assert [stage.label for stage in built] == [
        "embeddings, layers 0-1, layers 10-11, head",
        "embeddings, layers 0-3, layers 8-11, head",
        "full model",
    ]


def test_asymmetric_growth_has_the_whole_encoder_and_adds_to_the_decoder() -> None:
    built = grown("asymmetric", (6, 6), stages=3)
    assert active(built) == [tuple(range(8)), tuple(range(10)), tuple(range(12))]


def test_sides_of_unequal_depth() -> None:
    assert symmetric([1, 2], 8, 2) == [(0, 1, 2, 7), tuple(range(8))]
    assert symmetric([1, 3, 6], 8, 6) == [(0, 7), (0, 5, 6, 7), tuple(range(8))]
    assert asymmetric([1, 2], 8, 2) == [tuple(range(7)), tuple(range(8))]
    assert active(grown("symmetric", (2, 3), boundaries=(1, 3))) == [(0, 4), (0, 1, 2, 3, 4)]
    assert bottom_up([1, 3]) == [(0,), (0, 1, 2)]


@ORDERS
@given(encoder=st.integers(1, 6), decoder=st.integers(1, 6), stages=st.integers(1, 6), rounds=st.integers(12, 60))
def test_every_stage_trains_all_that_is_there(order: str, encoder: int, decoder: int, stages: int, rounds: int) -> None:
    if stages > decoder:
        return
    built = grown(order, (encoder, decoder), rounds, stages=stages)
    assert [stage.rounds for stage in built] == stage_lengths(rounds, stages)  # those of the paper
    before: set[int] = set()
    for stage, slots in zip(built, active(built), strict=True):
        (plan,) = stage.plans
        assert plan.train_layers == tuple(range(len(slots)))
        assert plan.train_embeddings
        assert plan.train_head
        assert before < set(slots)
        # what is on each side hangs together, and a local model can be made of it
        local = bart(encoder, decoder).local(slots)
        below, above = slots[: local.encoder_layers], slots[local.encoder_layers :]
        assert below == tuple(range(len(below)))
        start = encoder if order == "asymmetric" else encoder + decoder - len(above)
        assert above == tuple(range(start, start + len(above)))
        if order == "asymmetric":
            assert len(below) == encoder
        before = set(slots)
        assert stage.tested == (None if stage is built[-1] else slots)
    assert built[-1].plans == (full(encoder + decoder),)
    # with new blocks that are the global model's own nothing is put in, and the MLM head is the same throughout
    assert not any(stage.fills for stage in built)


@ORDERS
@pytest.mark.parametrize(("phase", "head"), [("further_pretrain", MLM), ("finetune", POOLER), ("finetune", TAGS)])
def test_one_stage_is_fedavg(order: str, phase: PhaseName, head: Head) -> None:
    wanted = list(FedAvg().stages(phase, 9, bart(2, 3), head))
    assert list(grown(order, (2, 3), 9, head, phase, stages=1)) == wanted


def test_without_a_number_the_decoder_grows_in_four_stages_or_one_a_layer() -> None:
    assert len(grown("symmetric", (6, 6))) == len(grown("asymmetric", (2, 8))) == 4
    assert len(grown("symmetric", (6, 2))) == 2


def test_the_outputs_end_keeps_its_head_where_it_is_there_from_the_start() -> None:
    for order, heads in (("symmetric", [None] * 3), ("asymmetric", [Head("mean", 5)] * 2 + [None])):
        built = grown(order, (3, 3), 24, POOLER, "finetune", stages=3)
        assert [stage.head for stage in built] == heads
        # from one temporary head to the next a fresh one; the last is of another kind
        assert [Fill("head", "random") in stage.fills for stage in built] == [False, order == "asymmetric", False]
    tags = grown("asymmetric", (3, 3), 24, TAGS, "finetune", stages=3)
    assert [Fill("head", "random") in stage.fills for stage in tags] == [False, True, True]
    kept = grown("asymmetric", (3, 3), 24, POOLER, "finetune", stages=3, head="task")
    assert not any(stage.head or stage.fills for stage in kept)


def test_a_warm_up_trains_the_new_layers_in_the_middle_and_the_head() -> None:
    built = grown("symmetric", (4, 4), stages=2, warmup_rounds=2, new_blocks="random")
    first, warm, after = built
    assert [stage.rounds for stage in built] == [6, 2, 16]
    (plan,) = warm.plans
    assert plan.layers.slots() == tuple(range(8))
    assert plan.train_layers == (2, 3, 4, 5)
    assert not plan.train_embeddings
    assert warm.label == "layers 2-5, head (warm-up)"
    assert [fill.group for fill in warm.fills] == [f"layer.{i}" for i in (2, 3, 4, 5)]
    assert after.fills == first.fills == ()


def test_copies_come_from_the_same_side() -> None:
    # inwards: onto the encoder so far, and below the decoder so far
    assert sources((2, 3, 4, 5), (0, 1, 6, 7), 4) == {2: 0, 3: 1, 4: 6, 5: 7}
    assert sources((1, 2, 3, 4, 5, 6), (0, 7), 4) == {1: 0, 2: 0, 3: 0, 4: 7, 5: 7, 6: 7}
    assert sources((3, 4), (0, 1, 2, 5, 6, 7), 4) == {3: 2, 4: 5}
    assert sources((6, 7), (0, 1, 2, 3, 4, 5), 4) == {6: 4, 7: 5}
    assert sources((4, 5), (0, 1, 2, 3), 6) == {4: 2, 5: 3}
    _, second = grown("symmetric", (2, 2), stages=2, new_blocks="stack")
    assert list(second.fills) == [Fill("layer.1", "layer.0"), Fill("layer.2", "layer.3")]


@pytest.mark.parametrize(
    ("order", "stages", "upload", "compute"),
    [
        ("symmetric", 2, "91.1", "88.2"),
        ("symmetric", 3, "88.1", "84.2"),
        ("symmetric", 6, "85.2", "80.3"),
        ("asymmetric", 2, "94.9", "93.2"),
        ("asymmetric", 3, "93.2", "90.9"),
        ("asymmetric", 6, "91.5", "88.7"),
    ],
)
def test_what_it_saves_on_bart_base(order: str, stages: int, upload: str, compute: str) -> None:
    method = ProgFed.model_validate({"growth": order, "further_pretrain": {"stages": stages}})
    work = one_batch(32, 128, 614)
    ours, whole = (spent(m, "further_pretrain", 24, BART_BASE, MLM, work) for m in (method, FedAvg()))
    encoder, decoder, share = 6 * 7_087_872, 6 * 9_451_776, Fraction(3 * stages + 1, 4 * stages)
    grows = encoder + decoder if order == "symmetric" else decoder
    closed = 1 - (1 - share) * grows / Fraction(139_470_681)
    assert ours.upload_bytes / whole.upload_bytes == pytest.approx(float(closed), rel=1e-12)
    row = f"| {order} | {stages} | {upload} % | {compute} % |"
    assert f"{100 * ours.upload_bytes / whole.upload_bytes:.1f}" == upload
    assert f"{100 * ours.flops / whole.flops:.1f}" == compute
    assert row in (ROOT / "docs/methods/progfed.md").read_text(encoding="utf-8")


def refusal(method: dict[str, Any], sides: tuple[int, int], rounds: int = 10) -> str:
    phases = Phases.model_validate({"finetune": {"rounds": rounds, "participation": {"clients_per_round": 1}}})
    layers = sum(sides)
    (problem,) = ProgFed.model_validate(method).schedule_problems(phases, layers, sides[1])
    return f"{'.'.join(map(str, problem.key))}: {problem.message}"


@pytest.mark.parametrize(
    ("method", "sides", "says"),
    [
        (
            {"growth": "symmetric", "finetune": {"stages": 4}},
            (6, 3),
            "finetune.stages: is 4, the decoder has 3 layers",
        ),
        (
            {"growth": "asymmetric", "finetune": {"boundaries": [1, 6]}},
            (6, 3),
            "finetune.boundaries: must end with all 3 layers of the decoder, given 6",
        ),
        (
            {"growth": "symmetric", "finetune": {"stages": 3, "warmup_rounds": 2}},
            (3, 3),
            "finetune.warmup_rounds: is 2; a stage that grows gets only 2 of the 10 rounds of phases.finetune",
        ),
    ],
)
def test_options_that_do_not_fit(method: dict[str, Any], sides: tuple[int, int], says: str) -> None:
    assert refusal(method, sides).startswith(says)


@pytest.mark.parametrize(
    ("method", "model", "says"),
    [
        ({}, {"family": "bart"}, "methods.progfed.growth: is bottom_up, for encoders; this model has a decoder"),
        ({}, {"family": "bart", "checkpoint": "x"}, "methods.progfed.growth: is bottom_up, for encoders"),
        ({"growth": "symmetric"}, {}, "growth: is symmetric, for models with a decoder"),
        ({"growth": "asymmetric"}, {"family": "distilbert"}, "growth: is asymmetric, for models with a decoder"),
        ({"growth": "symmetric", "model": {}}, {"family": "bart"}, "growth: is symmetric, for models with a decoder"),
    ],
)
def test_the_order_is_one_that_the_model_can_grow_in(method: dict[str, Any], model: dict[str, Any], says: str) -> None:
    raw = small({"progfed": method}, model=model, data__max_tokens=24)
    raw["data"]["tokenizer"] = {"kind": "checkpoint", "checkpoint": "x"}
    with pytest.raises(ValueError, match=says) as refused:
        Scenario.model_validate(raw)
    assert str(refused.value).count("growth:") == 1


@pytest.mark.parametrize(
    ("method", "says"),
    [
        ({"growth": "inwards"}, "growth"),
        ({"growth": "symmetric", "finetune": {"head": "pool_linear"}}, "the output's end, and its head, are there"),
        ({"growth": "symmetric", "further_pretrain": {"head": "tied_lm"}}, "there is no transform to renew"),
        ({"growth": "asymmetric", "further_pretrain": {"head": "tied_lm"}}, "there is no transform to renew"),
    ],
)
def test_options_that_contradict_each_other(method: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ProgFed.model_validate(method)
