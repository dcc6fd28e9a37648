"""Encoder-decoders from start to end: the same bits everywhere, prices that are those of training, files that open."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from transformers import AutoTokenizer, BartForConditionalGeneration, BartForSequenceClassification

import fedsim
from fedsim.engine.inline import InlineEngine
from fedsim.engine.ray_pool import RayEngine
from fedsim.engine.tasks import Counts, Result, Task, TrainBlock
from fedsim.errors import UserError
from fedsim.model.local import LocalModel
from fedsim.scenario.schema import Scenario
from fedsim.wire import PLAIN
from tests import runs
from tests.runs import Blocks, Dying, Killed, Lent, Wrapped, hashes, small
from tests.test_conservation import counted, payload
from tests.test_same_bits import conll

MODEL = {
    "family": "bart",
    "hidden": 16,
    "layers": 2,
    "decoder_layers": 1,
    "heads": 2,
    "feed_forward": 32,
    "max_positions": 24,
}
SGD = {"kind": "sgd", "learning_rate": 0.2}
METHODS: dict[str, dict[str, Any]] = {
    "fedavg": {"optimizer_state": "keep"},
    "fedprox": {"mu": 0.1},
    "fedopt": {"server": {"kind": "fedadam", "learning_rate": 1e-2}},
    "scaffold": {},
    "freezing": {"further_pretrain": {"embeddings_round": 1, "layer_rounds": [1, 2]}},
    "centralized": {},
    "sparse": {"kind": "fedavg", "upload": {"bits": 8, "share": 0.5}, "what": "delta", "download": {"bits": 16}},
}


def scenario(methods: Mapping[str, Mapping[str, Any]] = METHODS, **changes: Any) -> dict[str, Any]:
    """Plain SGD, which SCAFFOLD asks for, at rates that move something in five rounds."""
    optimizers = {f"phases__{phase}__local": {"optimizer": SGD} for phase in ("further_pretrain", "finetune")}
    return small(methods, **{"model": MODEL, **optimizers} | changes)


@dataclass
class Ended:
    folder: Path
    summary: dict[str, Any]
    run: fedsim.Run
    blocks: list[TrainBlock] = field(default_factory=list)


@pytest.fixture(scope="module")
def ended(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    out, seen = tmp_path_factory.mktemp("encdec") / "run", list[TrainBlock]()
    summary = runs.run(scenario(outputs__save_models=True), world, out, lambda: Blocks(seen))
    return Ended(out, summary, fedsim.read_run(out), seen)


def test_every_method_that_takes_the_family_learns_something_of_its_own(ended: Ended) -> None:
    found = hashes(ended.summary)
    assert len({weights for weights, _ in found.values()}) == len(METHODS)
    for name in METHODS:
        losses = ended.run.evals[(ended.run.evals.method == name) & (ended.run.evals.metric == "mlm_loss")].value
        assert losses.iloc[-1] < losses.iloc[0], name


@pytest.mark.slow
@pytest.mark.parametrize("hosts", [2])
def test_hosts_give_the_same_bits(
    ended: Ended, world: Path, tmp_path: Path, pools: Callable[[int], RayEngine], hosts: int
) -> None:
    names = ("fedavg", "freezing", "sparse")
    raw = scenario({name: METHODS[name] for name in names})
    there = runs.run(raw, world, tmp_path / "run", lambda: Lent(pools(hosts), str(tmp_path)))
    assert hashes(there) == {name: hashes(ended.summary)[name] for name in names}


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_bits(ended: Ended, world: Path, tmp_path: Path) -> None:
    names = ("fedavg", "scaffold")
    raw = scenario({name: METHODS[name] for name in names}, outputs__checkpoint_every_rounds=1)
    with pytest.raises(Killed):
        runs.run(raw, world, tmp_path / "run", lambda: Dying(InlineEngine(), 20))
    assert hashes(runs.resume(tmp_path / "run")) == {name: hashes(ended.summary)[name] for name in names}


def test_prices_are_those_of_training(ended: Ended, world: Path, tmp_path: Path) -> None:
    runs.run(scenario(), world, tmp_path / "run", None)
    priced = fedsim.read_run(tmp_path / "run")
    for table in ("trips", "rounds", "stages"):
        wanted, found = getattr(ended.run, table), getattr(priced, table)
        pd.testing.assert_frame_equal(
            found.drop(columns="loss", errors="ignore"), wanted.drop(columns="loss", errors="ignore")
        )


def test_bytes_and_flops_of_every_stage_are_those_of_its_model(ended: Ended) -> None:
    trips = ended.run.trips[ended.run.trips["useful"] & ended.run.trips["method"].isin(["fedavg", "freezing"])]
    smallest = trips.sort_values("tokens", kind="stable").groupby(["method", "phase", "stage"], observed=True).head(1)
    assert len(smallest) == 2 + 5
    for trip in runs.rows(smallest):
        (block,) = (
            block
            for block in ended.blocks
            if (block.method, block.round) == (trip.method, trip.round) and block.clients[0].client == trip.client
        )
        assert (trip.flops_forward, trip.flops_backward) == counted(block, block.clients[0])
        parts = LocalModel(block.shape).trained.values()
        assert trip.upload_bytes == sum(len(payload(part, PLAIN)) for part in parts)


def test_frozen_parts_of_both_sides_are_not_sent(ended: Ended) -> None:
    rounds = ended.run.rounds[(ended.run.rounds.method == "freezing") & (ended.run.rounds.phase == "further_pretrain")]
    whole = {"embeddings", "layer.0", "layer.1", "layer.2", "head"}
    assert [set(row.split()) for row in rounds.trained_groups] == [
        whole,
        whole - {"embeddings", "layer.0"},
        {"layer.2", "head"},
    ]


def test_the_final_model_opens_with_transformers_and_answers_as_it_was_tested(ended: Ended) -> None:
    folder = ended.folder / "models" / "fedavg"
    model = BartForSequenceClassification.from_pretrained(folder)
    model.eval()  # type: ignore[no-untyped-call]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert model.config.eos_token_id == model.config.decoder_start_token_id == tokenizer.sep_token_id
    assert (model.config.encoder_layers, model.config.decoder_layers) == (2, 1)
    logits = model(**tokenizer(["the river and the forest"], return_tensors="pt")).logits
    assert logits.shape == (1, 3)
    assert bool(torch.isfinite(logits).all())


def test_a_saved_model_is_where_the_next_run_starts(world: Path, tmp_path: Path) -> None:
    alone = {"phases__finetune": None, "phases__pretrain": None, "data__central_fraction": 0.0}
    runs.run(scenario({"fedavg": {}}, **alone, outputs__save_models=True), world, tmp_path / "run")
    folder = str(tmp_path / "run" / "models" / "fedavg")
    assert BartForConditionalGeneration.from_pretrained(folder).final_logits_bias.abs().sum() > 0
    again = scenario(
        {"fedavg": {}},
        **alone,
        model={"family": "bart", "checkpoint": folder},
        data__tokenizer={"kind": "checkpoint", "checkpoint": folder},
    )
    runs.run(again, world, tmp_path / "again")
    before, after = (fedsim.read_run(tmp_path / name).evals for name in ("run", "again"))
    last = before[before.metric == "mlm_loss"].value.iloc[-1]
    assert after[after.metric == "mlm_loss"].value.iloc[0] == pytest.approx(last, abs=1e-6)
    again["model"]["family"] = "bert"
    with pytest.raises(UserError, match="is bert, the checkpoint says bart: set it to that") as refused:
        runs.run(again, world, tmp_path / "other")
    assert refused.value.key == "model.family"


class Answers(Wrapped):
    """Counts what is predicted in tests on held-out samples."""

    targets = 0.0

    def run(self, tasks: Sequence[Task], label: str) -> Iterator[Result]:
        for result in self.inner.run(tasks, label):
            self.targets += result.values["targets"] if isinstance(result, Counts) else 0.0
            yield result


def test_writing_the_whole_text_anew(world: Path, tmp_path: Path) -> None:
    found: list[Answers] = []
    for positions in ("masked", "all"):
        raw = scenario(
            {"fedavg": {}}, model=MODEL | {"mlm_positions": positions}, phases__finetune=None, phases__pretrain=None
        )
        found.append(Answers(InlineEngine()))
        runs.run(raw, world, tmp_path / positions, lambda: found[-1])
        evals = fedsim.read_run(tmp_path / positions).evals
        losses = evals[evals.metric == "mlm_loss"].value
        assert losses.iloc[-1] < losses.iloc[0]
    assert found[1].targets > 5 * found[0].targets  # the ends of every sample are among the answers


def test_token_classification(tmp_path: Path) -> None:
    conll(tmp_path)
    raw = scenario(
        {"fedavg": {}},
        data__corpus={"kind": "files", "train": ["train.conll"], "tags": "names"},
        data__partition={"kind": "quantity", "sigma": 1.0},
        phases__pretrain=None,
        phases__further_pretrain=None,
        phases__finetune__task={"kind": "tokens", "label": "names"},
    )
    found = runs.run(raw, tmp_path, tmp_path / "run")["methods"]["fedavg"]["quality"]
    assert 0 <= found["finetune/span_f1"] <= 1


OTHERS = ("centralized", "fedavg", "fedopt", "fedprox", "freezing", "progfed", "scaffold")


@pytest.mark.parametrize("kind", ["depthfl", "distilbert", "fedbert", "fedbt", "fedsplitbert", "lora", "stacking"])
def test_other_methods_say_who_takes_the_family(kind: str) -> None:
    with pytest.raises(ValueError, match=f"trains encoders alone.*take one of {', '.join(OTHERS)}"):
        Scenario.model_validate(scenario({kind: {}}))
    own = {"hidden": 16, "layers": 2, "heads": 2, "feed_forward": 32, "max_positions": 24}
    if kind == "distilbert":  # its teacher is the scenario's model, whatever its student is
        with pytest.raises(ValueError, match="trains encoders alone"):
            Scenario.model_validate(scenario({kind: {"model": own}}))
    elif kind in ("depthfl", "fedbert", "lora"):
        assert Scenario.model_validate(scenario({kind: {"model": own}})).methods[kind].model is not None


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ({"decoder_layers": 2}, "decoder_layers: goes with family: bart, family is bert"),
        ({"family": "distilbert", "decoder_layers": 2}, "family is distilbert: an encoder alone"),
        ({"family": "bart", "checkpoint": "x", "decoder_layers": 2}, "decoder_layers: comes from the checkpoint"),
        ({"family": "bart", "decoder_layers": 0}, "greater than or equal to 1"),
    ],
)
def test_sizes_that_are_not_a_models(model: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Scenario.model_validate(scenario({"fedavg": {}}, model=model))


def test_tokens_without_an_end_are_no_text_for_a_decoder(tmp_path: Path) -> None:
    frame = pd.DataFrame({"input_ids": [[5, 6, 7 + i] for i in range(40)], "labels": [[-100, 6, -100]] * 40})
    frame.to_parquet(tmp_path / "ready.parquet")
    raw = scenario(
        {"fedavg": {}},
        data={
            "corpus": {"kind": "files", "train": ["ready.parquet"], "tokenised": True},
            "partition": {"kind": "iid"},
            "max_tokens": 24,
        },
        phases={"further_pretrain": {"rounds": 1, "participation": {"clients_per_round": 2}}, "evaluate": None},
    )
    with pytest.raises(UserError, match="names no token that samples end with"):
        runs.run(raw, tmp_path, tmp_path / "run")


@pytest.mark.slow
def test_declared_data_is_priced(tmp_path: Path) -> None:
    raw = scenario(
        {"fedavg": {}, "freezing": {}},
        model=MODEL | {"vocabulary": 500, "layers": 3, "decoder_layers": 2},
        data={"corpus": {"kind": "declared", "samples_per_client": 8, "tokens": 16}, "max_tokens": 16},
        phases__pretrain=None,
    )
    found = runs.run(raw, tmp_path, tmp_path / "run", None)["methods"]
    h, f = 16, 32
    embeddings, attention, units = 500 * h + 2 * 26 * h + 4 * h, 4 * (h * h + h) + 2 * h, 2 * h * f + h + f + 2 * h
    first = fedsim.read_run(tmp_path / "run").trips.query("method == 'fedavg'").price_upload_bytes.iloc[0]
    assert first == 4 * (embeddings + 3 * (attention + units) + 2 * (2 * attention + units) + 500)
    assert 0 < found["freezing"]["upload_bytes"] < found["fedavg"]["upload_bytes"]
