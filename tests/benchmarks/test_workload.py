import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import local_work, workload
from benchmarks.workload import CLASSIFY, MLM, WORKLOADS, Data, Workload

from .works import SMALL, first, trained


def test_mlm_is_what_the_page_says() -> None:
    ids, targets = MLM.data()
    assert ids.shape == targets.shape == (100, 8, 64)
    hidden = targets != -100
    assert 0.14 < hidden.mean() < 0.16
    assert (ids[hidden] == 4).all()
    assert hidden.reshape(100, 2, 4 * 64).any(-1).all(), "a batch without a target has no loss"
    draw = np.random.default_rng(3)
    assert np.array_equal(np.where(hidden, targets, ids), draw.integers(5, 8000, (100, 8, 64)))
    assert np.array_equal(hidden, draw.random((100, 8, 64)) < 0.15)
    assert MLM.cohort(1) == np.random.default_rng(1001).choice(100, 10, replace=False).tolist()
    assert first(MLM).size == 1_454_016


def test_classify_is_what_the_page_says() -> None:
    ids, targets = CLASSIFY.data()
    assert ids.shape == (1000, 16, 32)
    assert ids.min() == 5
    assert ids.max() == 1999
    assert targets.shape == (1000, 16)
    assert np.array_equal(targets, (ids[..., 0] + ids[..., 1]) % 4)
    assert CLASSIFY.cohort(0) == np.random.default_rng(1000).choice(1000, 100, replace=False).tolist()
    assert [len(ids) for ids, _ in Data(CLASSIFY).batches(7)] == [8, 8]
    assert first(CLASSIFY).size == 234_692
    assert CLASSIFY.model().config.hidden_dropout_prob == 0


def test_other_shapes_change_one_thing() -> None:
    changed = {
        name: {key for key in vars(work) if getattr(work, key) != getattr(WORKLOADS[name.partition("-")[0]], key)}
        for name, work in WORKLOADS.items()
    }
    wide, cohort = {"name", "rounds", "hidden", "heads", "feed_forward"}, {"name", "rounds", "cohort_clients"}
    assert changed == {
        "mlm": set(), "mlm-wide": wide, "mlm-cohort": cohort,
        "classify": set(), "classify-wide": wide, "classify-cohort": cohort,
    }  # fmt: skip
    assert WORKLOADS["mlm-wide"].hidden == 2 * MLM.hidden
    assert WORKLOADS["classify-cohort"].cohort_clients == 4 * CLASSIFY.cohort_clients
    assert all(work.rounds >= 2 and work.cohort_clients <= work.clients for work in WORKLOADS.values())


def test_the_first_weights_leave_the_random_numbers_alone() -> None:
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    assert np.array_equal(first(SMALL["mlm"]), first(SMALL["mlm"]))
    assert torch.equal(before, torch.random.get_rng_state())


def test_distance_is_relative_to_the_change() -> None:
    start = np.zeros(4, np.float32)
    reference = np.array([3.0, 4.0, 0.0, 0.0], np.float32)
    assert workload.distance(reference + np.array([0, 0, 0.5, 0], np.float32), reference, start) == pytest.approx(0.1)


def test_tolerance_counts_roundings() -> None:
    start, reference = np.array([1.0, 0.0], np.float32), np.array([1.0, 2.0**-10], np.float32)
    work = replace(CLASSIFY, cohort_clients=100)
    assert workload.tolerance(work, reference, start) == pytest.approx(4 * 10 * 2.0**-24 * 2**10, rel=1e-5)


@pytest.mark.parametrize("work", SMALL.values(), ids=SMALL)
def test_a_client_left_out_is_beyond_the_tolerance(work: Workload) -> None:
    class Shorter(Workload):
        def cohort(self, round_: int) -> list[int]:
            return super().cohort(round_)[: -1 if round_ == 0 else None]

    reference, start = trained(work), first(work)
    wrong = trained(Shorter(**vars(work)))
    assert workload.distance(wrong, reference, start) > 5 * workload.tolerance(work, reference, start)


@pytest.mark.slow
def test_every_environment_reads_the_same_definition(tmp_path: Path) -> None:
    """Scripts of other systems get a name and find the same work under it: numpy, torch and transformers suffice."""
    code = """
import json, sys
from benchmarks import workload
from dataclasses import asdict
lacking = [name for name in ("fedsim", "pyarrow", "yaml", "psutil") if name in sys.modules]
print(json.dumps([lacking, {name: asdict(work) for name, work in workload.WORKLOADS.items()}]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lacking, works = json.loads(done.stdout)
    assert lacking == []
    assert {name: Workload(**work) for name, work in works.items()} == WORKLOADS


def test_the_loss_at_masked_positions_is_the_loss() -> None:
    work = SMALL["mlm"]
    (ids, targets), _ = Data(work).batches(0)
    losses = []
    for of in (workload.loss, local_work.loss_of_masked):
        module = work.model()
        value = of(module, ids, targets)
        value.backward()  # type: ignore[no-untyped-call]
        losses.append((value.item(), [parameter.grad.clone() for parameter in module.parameters()]))
    (one, slopes), (other, same) = losses
    assert one == pytest.approx(other, rel=1e-6)
    for slope, again in zip(slopes, same, strict=True):
        torch.testing.assert_close(slope, again, rtol=1e-4, atol=1e-7)
