"""ProgFed's stage lengths, growth, warm-up and heads, as the paper gives them."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsim.methods.base import Fill, PhaseName, Stage
from fedsim.methods.fedavg import FedAvg
from fedsim.methods.progfed import ProgFed, stage_lengths
from fedsim.methods.stacking import Stacking
from fedsim.model.architecture import Architecture, Head
from fedsim.plan import full
from fedsim.scenario.phases import Phases

MLM, POOLER, TAGS = Head("mlm"), Head("pooler", 5), Head("tokens", 7)


def bert(layers: int) -> Architecture:
    return Architecture("bert", 100, 16, layers, 2, 32, 24, 0.1)


def grown(
    rounds: int, layers: int, task: Head = MLM, phase: PhaseName = "further_pretrain", **options: Any
) -> Sequence[Stage]:
    return ProgFed.model_validate({phase: options}).stages(phase, rounds, bert(layers), task)


def depths(stages: Sequence[Stage]) -> list[int]:
    return [stage.plans[0].layers.depth for stage in stages]


def test_stage_lengths_of_the_paper() -> None:
    assert stage_lengths(2000, 4) == [250, 250, 250, 1250]  # CIFAR-10
    assert stage_lengths(3000, 4) == [375, 375, 375, 1875]  # CIFAR-100
    assert stage_lengths(1500, 3) == [250, 250, 1000]  # EMNIST
    assert stage_lengths(100, 4) == [13, 13, 12, 62]  # BraTS: 12.5 rounds are 13 or 12
    assert stage_lengths(7, 1) == [7]


@given(st.integers(1, 12), st.integers(1, 400))
def test_stage_lengths_add_up_and_the_last_is_more_than_half(stages: int, rounds: int) -> None:
    if rounds < stages:
        return
    lengths = stage_lengths(rounds, stages)
    assert sum(lengths) == rounds
    assert min(lengths) >= 1
    if rounds >= 2 * stages:
        growing, last = Fraction(rounds, 2 * stages), Fraction(rounds * (stages + 1), 2 * stages)
        assert abs(lengths[-1] - last) < 1
        assert all(abs(length - growing) < 1 for length in lengths[:-1])
        assert lengths[-1] * 2 >= rounds
        if growing.denominator == 1:
            assert lengths == [growing] * (stages - 1) + [last]


@pytest.mark.parametrize(("phase", "head"), [("further_pretrain", MLM), ("finetune", POOLER), ("finetune", TAGS)])
def test_one_stage_is_fedavg(phase: PhaseName, head: Head) -> None:
    assert list(grown(9, 6, head, phase, stages=1)) == list(FedAvg().stages(phase, 9, bert(6), head))


@given(st.integers(1, 12), st.integers(1, 12), st.integers(24, 60))
def test_growth_keeps_what_is_there_and_trains_all_of_it(layers: int, stages: int, rounds: int) -> None:
    if stages > layers:
        return
    built = grown(rounds, layers, stages=stages)
    assert sum(stage.rounds for stage in built) == rounds
    assert len(built) == stages
    before = 0
    for stage in built:
        (plan,) = stage.plans
        depth = plan.layers.depth
        assert plan.layers.slots() == tuple(range(depth))
        assert plan.train_layers == tuple(range(depth))
        assert plan.train_embeddings
        assert plan.train_head
        # blocks are of equal size, or one larger above
        assert layers // stages <= depth - before <= -(-layers // stages)
        # with new blocks that are the global model's own, nothing but the head is filled: E_1 ... E_s stay
        assert [fill.group for fill in stage.fills] == (["head"] if before else [])
        before = depth
    assert built[-1].plans == (full(layers),)
    assert built[-1].tested is None
    assert [stage.tested for stage in built[:-1]] == [tuple(range(depth)) for depth in depths(built[:-1])]


def test_clients_in_early_stages_need_the_small_model_alone() -> None:
    first, *_, last = grown(24, 12)
    assert first.plans[0].needed((0, 1, 2)) == {"embeddings", "layer.0", "layer.1", "layer.2", "head"}
    assert not first.plans[0].full_pool
    assert last.plans[0].full_pool


def test_explicit_boundaries_and_rounds() -> None:
    built = grown(10, 6, boundaries=(1, 4, 6), stage_rounds=(2, 3, 5))
    assert depths(built) == [1, 4, 6]
    assert [stage.rounds for stage in built] == [2, 3, 5]
    assert depths(grown(10, 7, stages=3)) == [2, 4, 7]
    assert depths(grown(10, 2)) == [1, 2]
    assert depths(grown(16, 12)) == [3, 6, 9, 12]


@pytest.mark.parametrize(
    ("new_blocks", "sources"),
    [
        ("random", ["random"] * 3),
        ("identity", ["identity"] * 3),
        ("stack", ["layer.0", "layer.1", "layer.2"]),
        ("pretrained", []),
    ],
)
def test_what_new_blocks_start_from(new_blocks: str, sources: list[str]) -> None:
    _, second = grown(8, 6, stages=2, new_blocks=new_blocks)
    names = [f"layer.{i}" for i in (3, 4, 5)]
    wanted = [Fill(name, source) for name, source in zip(names, sources, strict=False)]
    assert list(second.fills) == [*wanted, Fill("head", "random")]


def test_a_stack_smaller_than_the_new_block_is_copied_again() -> None:
    _, small, large = grown(12, 9, boundaries=(1, 3, 9), new_blocks="stack")
    assert [(f.group, f.source) for f in small.fills[:-1]] == [("layer.1", "layer.0"), ("layer.2", "layer.0")]
    assert [f.source for f in large.fills[:-1]] == ["layer.0", "layer.1", "layer.2"] * 2
    _, large = grown(12, 6, boundaries=(4, 6), new_blocks="stack")
    assert [f.source for f in large.fills[:-1]] == ["layer.2", "layer.3"]


def test_a_warm_up_trains_the_new_block_and_the_head_within_the_rounds_of_its_stage() -> None:
    built = grown(24, 6, stages=3, warmup_rounds=2, new_blocks="random")
    assert [stage.rounds for stage in built] == [4, 2, 2, 2, 14]
    assert depths(built) == [2, 4, 4, 6, 6]
    for warm, after, new in ((built[1], built[2], (2, 3)), (built[3], built[4], (4, 5))):
        (plan,) = warm.plans
        assert plan.train_layers == new
        assert not plan.train_embeddings
        assert plan.sent(plan.layers.slots()) == (*(f"layer.{i}" for i in new), "head")
        assert [fill.group for fill in warm.fills] == [*(f"layer.{i}" for i in new), "head"]
        assert after.fills == ()
        assert (warm.tested, warm.head) == (after.tested, after.head)
        assert warm.reset_server
        assert after.reset_server


def test_the_server_optimizer_may_go_on() -> None:
    kept = ProgFed.model_validate({"reset_server_optimizer": False})
    assert not any(stage.reset_server for stage in kept.stages("finetune", 24, bert(6), POOLER))
    assert [stage.reset_server for stage in grown(24, 6, stages=3)] == [False, True, True]


@pytest.mark.parametrize(
    ("phase", "head", "option", "temporary", "fresh"),
    [
        ("further_pretrain", MLM, "tied_lm", MLM, True),
        ("further_pretrain", MLM, "task", None, False),
        ("finetune", POOLER, "pool_linear", Head("mean", 5), False),  # the last head is another one: fresh by itself
        ("finetune", Head("mean", 5), "pool_linear", Head("mean", 5), True),
        ("finetune", TAGS, "pool_linear", TAGS, True),
        ("finetune", POOLER, "task", None, False),
    ],
)
def test_heads(phase: PhaseName, head: Head, option: str, temporary: Head | None, fresh: bool) -> None:
    first, second, last = grown(12, 6, head, phase, stages=3, head=option)
    assert first.head == second.head == temporary
    assert last.head is None
    between = option != "task"  # from one temporary head to the next
    assert (Fill("head", "random") in second.fills) == between
    assert (Fill("head", "random") in last.fills) == fresh


@pytest.mark.parametrize("kind", [ProgFed, Stacking])
def test_the_server_optimizer_cannot_go_on_and_start_afresh(kind: type[ProgFed | Stacking]) -> None:
    with pytest.raises(ValueError, match="is false, but server"):
        kind.model_validate({"reset_server_optimizer": False, "server": {"kind": "fedadam", "on_new_stage": "reset"}})


def refusal(layers: int, rounds: int, **options: Any) -> str:
    phases = Phases.model_validate({"finetune": {"rounds": rounds, "participation": {"clients_per_round": 1}}})
    (problem,) = ProgFed.model_validate({"finetune": options}).schedule_problems(phases, layers)
    return f"{'.'.join(map(str, problem.key))}: {problem.message}"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"stages": 7}, "finetune.stages: is 7, the global model has 6 layers"),
        ({"boundaries": [2, 5]}, "finetune.boundaries: must end with all 6 layers of the global model, given 5"),
        ({"stage_rounds": [1, 2, 7]}, "finetune.stage_rounds: lists 3 stages, there are 4"),
        ({"stages": 2, "stage_rounds": [1, 8]}, "finetune.stage_rounds: adds up to 9 rounds, phases.finetune has 10"),
        (
            {"warmup_rounds": 1},
            "finetune.warmup_rounds: is 1; a stage that grows gets only 1 of the 10 rounds of phases.finetune",
        ),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], says: str) -> None:
    assert refusal(6, 10, **options) == says


def test_too_few_rounds() -> None:
    assert refusal(6, 3) == "finetune.stages: asks for 4 stages, phases.finetune has 3 rounds"
    assert refusal(3, 2, boundaries=[1, 2, 3]) == "finetune.boundaries: asks for 3 stages, phases.finetune has 2 rounds"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"boundaries": []}, "at least 1 item"),
        ({"stages": 2, "boundaries": [3, 6]}, "give either stages or boundaries, not both"),
        ({"boundaries": [3, 3, 6]}, "boundaries: must be ascending, given 3, 3, 6"),
    ],
)
def test_options_that_contradict_each_other(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ProgFed.model_validate({"further_pretrain": options})
