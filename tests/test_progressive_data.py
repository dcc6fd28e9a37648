"""Training that goes on to other samples, or to other tasks."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import fedsim
from fedsim import Run, rng
from fedsim.data.curriculum import Difficulty
from fedsim.data.shards import Shards
from fedsim.data.tokens import Tokens
from fedsim.engine.host import Host, open_world
from fedsim.engine.inline import InlineEngine
from fedsim.engine.ray_pool import RayEngine
from fedsim.engine.tasks import TrainBlock
from fedsim.report.frames import headline
from tests import runs
from tests.runs import TEXT, Blocks, Dying, Killed, Lent, hashes, rows, small

SHORT, HALF = 9, 0.5
CURRICULUM = [{"rounds": 1, "max_tokens": SHORT}, {"rounds": 2, "frequent_words": HALF}, {"rounds": 1}]
METHODS: dict[str, dict[str, Any]] = {"fedavg": {}, "centralized": {}}


def write_texts(folder: Path) -> None:
    """Samples with a topic and a tone; one client has long ones alone."""
    draw, words = rng.stream(6, "texts"), TEXT.split()
    for name, samples in (("train", 12), ("test", 3)):
        lines = []
        for client in range(6):
            for _ in range(samples):
                length = int(draw.integers(12, 18)) if client == 5 else int(draw.integers(2, 18))
                text = " ".join(draw.choice(words[client * 3 :], length))
                labels = {"topic": f"t{draw.integers(3)}", "tone": f"n{draw.integers(2)}"}
                lines.append(json.dumps({"text": text, "client": f"c{client}", **labels}))
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")


def scenario(**changes: Any) -> dict[str, Any]:
    participation = {"clients_per_round": 4}
    tasks = [("topic", 2), ("tone", 1), ("topic", 1)]
    raw = small(METHODS, fleet__clients=6, data__central_fraction=0.0, phases__pretrain=None, **changes)
    raw["data"]["corpus"]["labels"] = ["topic", "tone"]
    raw["phases"]["further_pretrain"] |= {"rounds": 4, "participation": participation, "curriculum": CURRICULUM}
    raw["phases"]["finetune"] = [
        {"rounds": rounds, "participation": participation, "task": {"label": label}} for label, rounds in tasks
    ]
    return raw


@dataclass
class Ended:
    summary: dict[str, Any]
    run: Run
    blocks: list[TrainBlock] = field(default_factory=list)

    def trips(self, method: str = "fedavg") -> pd.DataFrame:
        return self.run.trips[self.run.trips["method"] == method]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    write_texts(folder)
    return folder


@pytest.fixture(scope="module")
def ended(base: Path) -> Ended:
    blocks = list[TrainBlock]()
    summary = runs.run(scenario(), base, base / "run", lambda: Blocks(blocks))
    return Ended(summary, fedsim.read_run(base / "run"), blocks)


def test_what_counts_is_what_a_step_says(ended: Ended) -> None:
    files = ended.blocks[0].world
    assert files.difficulty is not None
    tokens, shards, hard = Tokens.open(files.tokens), Shards.open(files.shards), Difficulty.open(files.difficulty)
    seen = set()
    for trip in rows(ended.trips()[ended.trips()["phase"] == "further_pretrain"]):
        own = shards[trip.client]
        lengths = tokens.ids.lengths[own]
        if trip.round == 0:
            short = lengths[lengths <= SHORT]
            kept = short if len(short) else lengths[[lengths.argmin()]]
            seen.add(len(short) == 0)
        elif trip.round < 3:
            most = np.argsort(hard.mean[own], kind="stable")[: int(HALF * len(own) + 0.5)]
            kept = lengths[most]
        else:
            kept = lengths
        assert (trip.samples, trip.real_tokens) == (len(kept), kept.sum())
    assert seen == {True, False}  # somebody has nothing short, and still trains


def test_a_clients_weight_is_what_counts(ended: Ended) -> None:
    for _, trips in ended.trips().groupby("round"):
        np.testing.assert_allclose(trips["weight"], trips["samples"] / trips["samples"].sum())


def test_hosts_train_on_what_was_priced(ended: Ended) -> None:
    host = Host("here")
    for block in ended.blocks:
        (work,) = block.clients
        client = work.client
        batches = list(host._batches(open_world(block.world), block, work))
        where = f"method == '{block.method}' and round == {block.round} and client == {client}"
        (trip,) = rows(ended.run.trips.query(where))
        assert (trip.batches, trip.samples) == (len(batches), sum(len(batch.ids) for batch in batches))
        assert trip.tokens == sum(batch.ids.numel() for batch in batches)


def test_the_machine_with_pooled_data_trains_on_the_same_samples(ended: Ended) -> None:
    counts = ["samples", "batches", "real_tokens", "tokens"]
    wanted = ended.trips().groupby("round")[counts].sum()
    pd.testing.assert_frame_equal(ended.trips("centralized").set_index("round")[counts], wanted, check_index_type=False)


def test_tasks_have_heads_rounds_and_metrics_of_their_own(ended: Ended) -> None:
    phases = ["further_pretrain", "finetune.topic", "finetune.tone", "finetune.topic.2"]
    rounds = ended.run.rounds[ended.run.rounds["method"] == "fedavg"]
    assert rounds["phase"].tolist() == [p for p, n in zip(phases, (4, 2, 1, 1), strict=True) for _ in range(n)]
    quality = ended.summary["methods"]["fedavg"]["quality"]
    assert {name.rpartition("/")[0] for name in quality} == set(phases)
    assert all(f"{phase}/accuracy" in quality for phase in phases[1:])
    evals = ended.run.evals[(ended.run.evals["method"] == "fedavg") & (ended.run.evals["metric"] == "accuracy")]
    assert list(zip(evals["phase"], evals["round"], strict=True)) == list(zip(phases[1:], (5, 6, 7), strict=True))
    assert headline(ended.run) == [("further_pretrain", "mlm_loss"), *((phase, "accuracy") for phase in phases[1:])]
    sent = ended.run.stages[ended.run.stages["method"] == "fedavg"]["parameters_sent"].tolist()
    hidden = 16
    assert sent[1] - sent[2] == (3 - 2) * (hidden + 1)  # three topics, two tones
    assert sent[1] == sent[3]


@pytest.mark.slow
def test_price_mode_and_a_resumed_run_agree(ended: Ended, base: Path, tmp_path: Path) -> None:
    runs.run(scenario(), base, tmp_path / "price", None)
    priced = fedsim.read_run(tmp_path / "price").trips.drop(columns="loss")
    pd.testing.assert_frame_equal(priced, ended.run.trips.drop(columns="loss"))
    raw = scenario(outputs__checkpoint_every_rounds=1)
    with pytest.raises(Killed):
        runs.run(raw, base, tmp_path / "run", lambda: Dying(InlineEngine(), 12))
    with pytest.raises(Killed):
        runs.resume(tmp_path / "run", lambda: Dying(InlineEngine(), 18))
    assert hashes(runs.resume(tmp_path / "run")) == hashes(ended.summary)


@pytest.mark.slow
def test_on_two_hosts(ended: Ended, base: Path, tmp_path: Path, pools: Callable[[int], RayEngine]) -> None:
    summary = runs.run(scenario(), base, tmp_path / "run", lambda: Lent(pools(2), str(tmp_path)))
    assert hashes(summary) == hashes(ended.summary)
