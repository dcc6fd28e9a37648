"""Head pruning in whole runs: measured by clients, averaged by the server, and followed by everything after it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForSequenceClassification

import fedsim
from fedsim.data.shards import Shards
from fedsim.engine.host import Host, open_world
from fedsim.engine.inline import InlineEngine
from fedsim.engine.tasks import TrainBlock
from fedsim.errors import FedsimError, UserError
from fedsim.methods.base import Pruning
from fedsim.methods.head_pruning import HeadPruning
from fedsim.model import pretrained
from fedsim.model.architecture import Architecture, Head, LocalShape
from fedsim.model.local import Batch, LocalModel
from fedsim.scenario.schema import Scenario
from fedsim.server.prune import choose
from fedsim.store import checkpoint
from fedsim.training.importance import gates, head_importance
from tests import markdown, runs
from tests.runs import Dying, Killed, small

from .states import arrays
from .test_heterofl import Seen

WIDE = {"hidden": 16, "layers": 3, "heads": 4, "feed_forward": 32, "max_positions": 24}
OPTIONS: dict[str, Any] = {"kind": "head_pruning", "after_rounds": 3, "measured_rounds": 2, "threshold": 0.5}


def raw(rounds: int = 5, **methods: Any) -> dict[str, Any]:
    local = {"optimizer": {"kind": "sgd", "learning_rate": 0.1}, "batch_samples": 4}
    return small(
        methods,
        model=WIDE,
        phases__pretrain=None,
        phases__further_pretrain=None,
        phases__finetune__rounds=rounds,
        phases__finetune__participation={"clients_per_round": 4, "over_selection": 1.25},
        phases__finetune__local=local,
        phases__finetune__evaluate_every_rounds=1,
        outputs__save_models=True,
    )


@pytest.fixture(scope="module")
def ended(world: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[fedsim.Run, list[Any]]:
    """A method that prunes, and one that would if anything were below its threshold."""
    out, seen = tmp_path_factory.mktemp("pruning") / "run", list[Any]()
    methods = {"fedavg": {}, "pruned": OPTIONS, "nothing": {**OPTIONS, "threshold": 0.0}}
    runs.run(raw(5, **methods), world, out, lambda: Seen(seen))
    return fedsim.read_run(out), seen


def kept(run: fedsim.Run) -> list[list[int]]:
    return list(json.loads((run.path / "models/pruned/kept_heads.json").read_text()).values())


def test_measuring_changes_nothing_but_the_price(ended: tuple[fedsim.Run, Any]) -> None:
    run, _ = ended
    weights = {name: run.summary["methods"][name]["weights_sha256"] for name in ("fedavg", "pruned", "nothing")}
    assert weights["nothing"] == weights["fedavg"] != weights["pruned"]
    assert not (run.path / "models/nothing/kept_heads.json").exists()
    own, plain = (run.trips[run.trips.method == name].reset_index() for name in ("nothing", "fedavg"))
    measured = own["round"].isin([1, 2])
    table = 4 * 3 * 4
    assert (own.price_upload_bytes - plain.price_upload_bytes == np.where(measured, table, 0)).all()
    for column in ("price_flops_forward", "price_flops_backward"):
        assert ((own[column] > plain[column]) == measured).all()
    assert (own.price_download_bytes == plain.price_download_bytes).all()
    assert (own.memory_bytes == plain.memory_bytes).all()
    stages = run.stages[run.stages.method == "pruned"]
    assert stages.trained.tolist() == ["full model", "full model, heads measured", "full model, heads pruned"]
    assert stages.rounds.tolist() == [1, 2, 2]


def test_heads_stay_by_the_mean_of_what_clients_measured(ended: tuple[fedsim.Run, list[Any]]) -> None:
    """Works the clients' tables out again, from the models that they were given."""
    run, seen = ended
    sizes, total = Shards.open(run.path / "shards").sizes, np.zeros(12)
    for round_ in (1, 2):
        blocks = [(task, result) for task, result in seen if (task.method, task.round) == ("pruned", round_)]
        weights = np.array([sizes[task.clients[0].client] for task, _ in blocks], np.float64)
        shares = [np.float32(task.clients[0].shares["importance"]) for task, _ in blocks]
        tables = [result.importance / share for (_, result), share in zip(blocks, shares, strict=True)]
        total += (weights[:, None] * np.array(tables)).sum(0) / weights.sum()
        assert all(len(table) == 12 and (table > 0).all() for table in tables)
    assert kept(run) == [choose(own, Pruning(0.5)).tolist() for own in np.split(total.astype(np.float32), 3)]
    assert 3 <= sum(map(len, kept(run))) < 12
    stored = arrays(run.path, "pruned", "group")
    assert np.allclose(_importance(run), total, rtol=1e-5)
    assert len(stored["layer.0"]) == _layer(len(kept(run)[0]))


def _importance(run: fedsim.Run) -> Any:
    state = checkpoint.load_latest(run.path / "checkpoints/pruned")
    assert state is not None
    return state.arrays["importance"]


def _layer(heads: int) -> int:
    return 4 * 16 * 4 * heads + 3 * 4 * heads + 16 + 2 * 16 * 32 + 32 + 16 + 4 * 16


def test_a_client_measures_the_model_that_it_was_given(ended: tuple[fedsim.Run, list[Any]]) -> None:
    _, seen = ended
    task, result = next((t, r) for t, r in seen if (t.method, t.round) == ("pruned", 1))
    host, model = Host("here"), LocalModel(task.shape)
    model.load({name: torch.from_numpy(values) for name, values in _after_first_round(seen).items()}, (0, 1, 2))
    (work,) = task.clients
    table = head_importance(model, host._batches(open_world(task.world), task, work))
    assert np.allclose(table * work.shares["importance"], result.importance, rtol=1e-5)


def _after_first_round(seen: list[Any]) -> dict[str, Any]:
    sums: dict[str, Any] = {}
    for task, result in seen:
        if (task.method, task.round) == ("pruned", 0):
            for name, values in result.sums.items():
                sums[name] = sums[name] + values if name in sums else values
    return sums


def test_the_smaller_model_is_what_is_sent_downloaded_and_computed(ended: tuple[fedsim.Run, list[Any]]) -> None:
    run, seen = ended
    trips = run.trips[run.trips.method == "pruned"]
    whole = 4 * (sum(map(_layer, (4, 4, 4))))
    left = 4 * sum(_layer(len(heads)) for heads in kept(run))
    rest = int(trips.price_upload_bytes[trips["round"] == 0].iloc[0]) - whole
    for task, result in seen:
        if task.method != "pruned":
            continue
        sent = [result.sums[name] for name in sorted(result.sums)]
        length = 4 * sum(map(len, sent if result.importance is None else [*sent, result.importance]))
        own = trips[(trips["round"] == task.round) & (trips.client == task.clients[0].client)]
        table = 48 if task.round in (1, 2) else 0
        assert own.upload_bytes.item() == length == rest + (left if task.round > 2 else whole) + table
    first = trips[trips["round"] == 3]
    assert (first.price_download_bytes == rest + left).all()  # everybody has been away since something changed
    stages = run.stages[run.stages.method == "pruned"]
    assert stages.parameters_sent.iloc[2] == (rest + left) // 4
    assert stages.flops_share.iloc[0] == 1.0 < stages.flops_share.iloc[1]
    assert stages.flops_share.iloc[2] < 1.0


def test_flops_of_every_stage_are_those_that_are_dispatched(ended: tuple[fedsim.Run, list[Any]]) -> None:
    run, seen = ended
    for round_ in (0, 1, 4):
        task = next(task for task, _ in seen if (task.method, task.round) == ("pruned", round_))
        trips = run.trips[(run.trips.method == "pruned") & (run.trips["round"] == round_)]
        (trip,) = trips[trips.client == task.clients[0].client].to_dict("records")
        assert (trip["flops_forward"], trip["flops_backward"]) == counted(task), round_


def counted(task: TrainBlock) -> tuple[int, int]:
    host, model = Host("here"), LocalModel(task.shape)
    for part in model.parts.values():
        part.flat.zero_()
    found = np.zeros(2, np.int64)
    with sdpa_kernel(SDPBackend.MATH):
        for batch in host._batches(open_world(task.world), task, task.clients[0]):
            with FlopCounterMode(display=False) as up:
                loss = model.loss(batch)
            with FlopCounterMode(display=False) as down:
                loss.backward()  # type: ignore[no-untyped-call]
            found += up.get_total_flops(), down.get_total_flops()
            if task.measured:
                with gates(model) as opened:
                    with FlopCounterMode(display=False) as up:
                        loss = model.answers_loss(model.hidden(batch), batch)
                    with FlopCounterMode(display=False) as down:
                        torch.autograd.grad(loss, opened)
                found += up.get_total_flops(), down.get_total_flops()
    return int(found[0]), int(found[1])


@pytest.mark.slow
def test_the_saved_model_is_the_one_that_was_tested(ended: tuple[fedsim.Run, Any], world: Path, tmp_path: Path) -> None:
    """It starts another run, whose evaluation before the first round is that after the last one of this run."""
    run, _ = ended
    folder = run.path / "models/pruned"
    sizes = pretrained.read_architecture(folder, "model")
    assert sizes.kept_heads == tuple(map(tuple, kept(run)))
    groups = pretrained.read_groups(folder, sizes, Head("pooler", 3), "model")
    stored = arrays(run.path, "pruned", "group")
    assert all(np.array_equal(groups[name], stored[name]) for name in stored)
    with pytest.raises(RuntimeError, match="mismatched"):
        AutoModelForSequenceClassification.from_pretrained(folder)

    (program,) = markdown.blocks(markdown.ROOT / "docs/methods/head_pruning.md", "python")
    opened: dict[str, Any] = {"folder": folder}
    exec(program, opened)
    model = LocalModel(LocalShape(sizes, Head("pooler", 3), 3))
    model.load({name: torch.from_numpy(values) for name, values in groups.items()}, (0, 1, 2))
    model.module.eval()
    ids = torch.arange(5, 25).reshape(2, 10)
    batch = Batch(ids, None, None, torch.zeros(2, dtype=torch.long))
    assert torch.allclose(model.logits(batch), opened["model"].eval()(ids).logits, rtol=0, atol=1e-6)

    again = raw(rounds=1, fedavg={}) | {"model": {"checkpoint": str(folder)}}
    again["data"]["tokenizer"] = {"kind": "checkpoint", "checkpoint": str(folder)}
    runs.run(again, world, tmp_path / "again")
    evals = fedsim.read_run(tmp_path / "again").evals
    first = evals[evals["round"] == -1].set_index("metric").value
    last = run.evals[(run.evals.method == "pruned") & (run.evals["round"] == 4)].set_index("metric").value
    assert first["accuracy"] == last["accuracy"]
    assert first["loss"] == pytest.approx(last["loss"], rel=1e-6)
    saved = pretrained.read_architecture(tmp_path / "again/models/fedavg", "model")
    assert saved == replace(sizes, dropout=saved.dropout)

    bent = again | {"methods": {"bt": {"kind": "fedbt", "finetune": {"local_layers": 2}}}}
    with pytest.raises(UserError, match="moves layers to other places") as told:
        runs.run(bent, world, tmp_path / "bent")
    assert told.value.key == "methods.bt"


def test_a_damaged_list_of_heads_is_named(tmp_path: Path) -> None:
    a = Architecture("bert", 40, 16, 2, 4, 32, 12, 0.1, kept_heads=((0, 3), (1,)))
    from fedsim.model.layout import layouts

    groups = {name: np.zeros(one.size, np.float32) for name, one in layouts(a, Head("mlm")).items()}
    pretrained.write(tmp_path, a, Head("mlm"), groups)
    assert pretrained.read_architecture(tmp_path, "model") == a
    for text, says in (
        ('{"0": [0, 3]}', "each of 2 layers"),
        ('{"0": [0, 4], "1": [1]}', "heads 0 to 3"),
        ('{"0": [3, 0], "1": [1]}', "ascending order"),
        ('{"0": [0, 3], "1": []}', "layer 1 must list at least one"),
        ("[", "must list the heads"),
    ):
        (tmp_path / "kept_heads.json").write_text(text)
        with pytest.raises(UserError, match=says):
            pretrained.read_architecture(tmp_path, "model")


@pytest.mark.slow
def test_a_price_needs_the_number_of_heads(world: Path, tmp_path: Path) -> None:
    counted = {**OPTIONS, "heads": 2}
    del counted["threshold"]
    summary = runs.run(raw(pruned=counted), world, tmp_path / "price", engine=None)
    trained = runs.run(raw(pruned=counted), world, tmp_path / "run")
    for column in ("upload_bytes", "download_bytes", "flops_forward", "flops_backward", "simulated_seconds"):
        assert summary["methods"]["pruned"][column] == trained["methods"]["pruned"][column]
    assert {len(heads) for heads in kept(fedsim.read_run(tmp_path / "run"))} == {2}
    with pytest.raises(UserError, match=r"has no price without training: .* give `heads` instead") as told:
        runs.run(raw(pruned=OPTIONS), world, tmp_path / "refused", engine=None)
    assert told.value.key == "methods.pruned"
    assert not (tmp_path / "refused").exists()


def test_nobody_measured(world: Path, tmp_path: Path) -> None:
    late = raw(pruned={**OPTIONS, "after_rounds": 1, "measured_rounds": 1})
    late["phases"]["finetune"]["participation"] = {"clients_per_round": 4, "deadline_s": 1e-9}
    with pytest.raises(FedsimError, match="pruned, round 1: no client has measured the importance of heads"):
        runs.run(late, world, tmp_path / "run")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"threshold": "high"}, "valid number"),
        ({"threshold": float("nan")}, "finite number"),
        ({"threshold": 1.5}, "less than or equal to 1"),
        ({"threshold": -0.1}, "greater than or equal to 0"),
        ({"heads": 0}, "greater than or equal to 1"),
        ({"heads": 2, "threshold": 0.3}, "threshold: does not go with `heads`"),
        ({"measured_rounds": 2}, "measured_rounds: is 2, after_rounds is 1"),
        ({"phase": "pretrain"}, "'further_pretrain' or 'finetune'"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        HeadPruning.model_validate(options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"after_rounds": 5}, r"methods\.pruned\.after_rounds: is 5: must leave a round of phases\.finetune \(5\)"),
        (
            {"phase": "further_pretrain"},
            r"methods\.pruned\.phase: is further_pretrain, which this scenario does not have",
        ),
        ({"heads": 5}, r"methods\.pruned\.heads: is 5, a layer has 4"),
    ],
)
def test_options_that_do_not_fit_the_scenario(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Scenario.model_validate(raw(pruned={"kind": "head_pruning", **options}))


def test_heads_are_pruned_once() -> None:
    several = raw(pruned={"kind": "head_pruning"})
    task = several["phases"]["finetune"]
    several["phases"]["finetune"] = [task, task]
    with pytest.raises(ValidationError, match=r"methods\.pruned\.phase: is finetune, of which there are 2: heads are"):
        Scenario.model_validate(several)


def test_a_pruned_shape_is_built_in_place_alone() -> None:
    from fedsim.plan import Layers, Plan

    a = Architecture("bert", 40, 16, 3, 4, 32, 12, 0.1, kept_heads=((0, 3), (1,), (2,)))
    moved = Plan(Layers((0, 2)), (0,), train_embeddings=False, train_head=True)
    with pytest.raises(ValueError, match="in place alone"):
        LocalShape.of(a, Head("mlm"), moved)


# the third round, index 2, is the last one that measures; after the fourth the pruned model is on disk
@pytest.mark.slow
@pytest.mark.parametrize(("every", "results", "finished"), [(1, 14, 2), (1, 18, 3), (1, 22, 4), (2, 18, 2)])
def test_killed_before_in_and_after_the_round_that_prunes(
    ended: tuple[fedsim.Run, Any], every: int, results: int, finished: int, world: Path, tmp_path: Path
) -> None:
    short = raw(5, pruned=OPTIONS) | {"outputs": {"save_models": False, "checkpoint_every_rounds": every}}
    with pytest.raises(Killed):
        runs.run(short, world, tmp_path / "run", lambda: Dying(InlineEngine(), results))
    stored = checkpoint.load_latest(tmp_path / "run/checkpoints/pruned")
    assert stored is not None
    assert stored.round == finished
    unbroken = ended[0].summary["methods"]["pruned"]
    found = runs.resume(tmp_path / "run")["methods"]["pruned"]
    assert [found[name] for name in ("weights_sha256", "trace_sha256")] == [
        unbroken[name] for name in ("weights_sha256", "trace_sha256")
    ]
    events = fedsim.read_run(tmp_path / "run").events
    assert set(events[events.kind == "pruned"]["round"]) == {3}
