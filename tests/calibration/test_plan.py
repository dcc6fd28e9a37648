from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from fedsim.calibration.plan import Asked, Chosen, choose_plan, measure
from fedsim.cost.flops import flops
from fedsim.cost.memory import peak_polynomial
from fedsim.errors import UserError
from fedsim.observe.observer import Silent
from fedsim.scenario.schema import Scenario
from fedsim.training.timing import filled, random_batch

SCENARIO: dict[str, Any] = {
    "name": "sizes",
    "data": {"max_tokens": 24, "corpus": {"kind": "declared", "samples_per_client": 20, "tokens": 12, "classes": 3}},
    "model": {"vocabulary": 60, "hidden": 16, "layers": 4, "heads": 2, "feed_forward": 32, "max_positions": 24},
    "fleet": {"clients": 4},
    "phases": {
        "further_pretrain": {"rounds": 4, "participation": {"clients_per_round": 2}},
        "finetune": {"rounds": 4, "participation": {"clients_per_round": 2}, "local": {"batch_samples": 3}},
    },
    "methods": {
        "fedbt": {},
        "fedavg": {},
        "progfed": {},
        "lora": {},
        "depthfl": {},
        "distilbert": {},
        "fedbert": {},
    },
}


def chosen(**asked: Any) -> Chosen:
    return choose_plan(Scenario.model_validate(SCENARIO), Path(), Asked(**asked), Silent())


def test_the_first_method_and_phase_and_the_batches_of_the_scenario() -> None:
    found = chosen()
    assert found.name.startswith("fedbt, further_pretrain, stage ")
    assert (found.samples, found.tokens, found.positions) == (8, 12, 8 * 2)


def test_the_most_costly_stage_unless_one_is_named() -> None:
    whole, first = chosen(method="progfed"), chosen(method="progfed", stage=0)
    assert (whole.shape.depth, first.shape.depth) == (4, 1)
    assert flops(whole.shape).forward.token > flops(first.shape).forward.token


def test_batches_may_be_others() -> None:
    found = chosen(method="fedavg", phase="finetune", samples=5, tokens=9)
    assert (found.samples, found.tokens, found.positions) == (5, 9, 5)
    assert chosen(method="fedavg", phase="finetune").samples == 3


@pytest.mark.parametrize(
    ("asked", "key", "text"),
    [
        ({"method": "fedavgg"}, "--method", "did you mean 'fedavg'"),
        ({"phase": "finetun"}, "--phase", "did you mean 'finetune'"),
        ({"method": "fedavg", "stage": 1}, "--stage", "stages 0 to 0"),
        ({"tokens": 25}, "--tokens", "the model takes 3 to 24"),
        ({"method": "fedbert"}, "--method", "splits the model"),
    ],
)
def test_what_is_not_there(asked: dict[str, Any], key: str, text: str) -> None:
    with pytest.raises(UserError, match=text) as caught:
        chosen(**asked)
    assert caught.value.key == key


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["further_pretrain", "finetune"])
@pytest.mark.parametrize("method", ["fedavg", "fedbt", "lora", "depthfl", "distilbert"])
def test_what_is_trained_is_what_is_counted(method: str, phase: str) -> None:
    one = chosen(method=method, phase=phase, samples=2)
    found = measure(one, 0.0, "cpu", Silent())
    assert len(found.forward_s) == len(found.backward_s) == 2
    assert min(*found.forward_s, *found.backward_s) > 0
    size = np.array([[2, 12, one.positions]], np.int64)
    optimizer = one.phase.config.local.optimizer
    assert found.priced_bytes == peak_polynomial(one.shape, optimizer).at(size)[0]
    if one.shape.teacher is None:
        model = filled(one.shape, torch.device("cpu"))
        batch = random_batch(model, 2, 12, one.positions)
        for layer in model.layers:
            layer.apply(_eager)
        with FlopCounterMode(display=False) as forward:
            loss = model.loss(batch)
        with FlopCounterMode(display=False) as backward:
            loss.backward()  # type: ignore[no-untyped-call]
        assert (forward.get_total_flops(), backward.get_total_flops()) == (found.flops_forward, found.flops_backward)


def _eager(module: torch.nn.Module) -> None:
    if (config := getattr(module, "config", None)) is not None:
        config._attn_implementation = "eager"
