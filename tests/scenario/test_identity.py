from pathlib import Path

import pytest

from fedsim.scenario.identity import difference, fingerprint, world
from fedsim.scenario.load import load
from fedsim.scenario.schema import Scenario

from .example import changed, write

WITHOUT_EFFECT = [
    "name=other",
    "summary=other",
    "engine.kind=ray",
    "engine={kind: ray, hosts: 3}",
    "engine={address: auto}",
    "outputs.folder=elsewhere",
    "outputs.checkpoint_every_rounds=5",
    # Written out, but the default
    "phases.finetune.local.batch_samples=8",
    "methods.fedavg={kind: fedavg}",
]
WITH_EFFECT = [
    ("seed=8", ["seed: 7 -> 8"]),
    ("engine.block_clients=4", ["engine.block_clients: null -> 4"]),
    ("engine.precision=bfloat16", ['engine.precision: "float32" -> "bfloat16"']),
    ("methods.fedavg.weighting=uniform", ['methods.fedavg.weighting: "samples" -> "uniform"']),
    ("data.corpus.libraries=[stdlib]", ['data.corpus.libraries: ["stdlib", "numpy"] -> ["stdlib"]']),
    (
        "methods.light.model=null",
        ["methods.light.model: absent -> null", "methods.light.model.checkpoint: "],
    ),
    (
        "data.partition={kind: quantity, sigma: 1.0, min_samples: 2}",
        [
            'data.partition.kind: "iid" -> "quantity"',
            "data.partition.shares: absent -> null",
            "data.partition.sigma: absent -> 1.0",
        ],
    ),
]


def both(folder: Path, assignment: str) -> tuple[Scenario, Scenario]:
    file = write(folder)
    return load(file).scenario, load(file, [assignment]).scenario


@pytest.mark.parametrize("assignment", WITHOUT_EFFECT)
def test_what_cannot_change_a_result_is_left_out(assignment: str, tmp_path: Path) -> None:
    before, after = both(tmp_path, assignment)
    assert fingerprint(before) == fingerprint(after)
    assert difference(before, after) == []


@pytest.mark.parametrize(("assignment", "lines"), WITH_EFFECT)
def test_every_change_is_told(assignment: str, lines: list[str], tmp_path: Path) -> None:
    before, after = both(tmp_path, assignment)
    assert fingerprint(before) != fingerprint(after)
    told = difference(before, after)
    assert [line for line, start in zip(told, lines, strict=False) if not line.startswith(start)] == []
    assert len(told) >= len(lines)
    assert len(difference(after, before)) == len(told)


def test_the_order_of_keys_and_methods_does_not_matter(tmp_path: Path) -> None:
    one = load(write(tmp_path)).scenario
    swapped = changed(("  fedavg:\n  fedbt: {pool: needed}\n", "  fedbt: {pool: needed}\n  fedavg:\n"))
    assert fingerprint(load(write(tmp_path, swapped)).scenario) == fingerprint(one)


def test_a_dump_reads_back_as_the_same_scenario(tmp_path: Path) -> None:
    texts = [
        changed(),
        changed(("    task: {kind: sequence, label: library}\n", ""), ("seed: 7", "seed: 8")),
        changed(
            ("{hidden: 64, layers: 4, heads: 4, feed_forward: 128, max_positions: 64}", "{checkpoint: c}"),
            ("{kind: wordpiece, vocabulary: 900}", "{kind: checkpoint, checkpoint: c}"),
        ),
        changed(
            ("{kind: docstrings, libraries: [stdlib, numpy]}", "{kind: files, train: [a.csv], labels: [library]}"),
        ),
    ]
    for text in texts:
        scenario = load(write(tmp_path, text)).scenario
        for again in (
            Scenario.model_validate(scenario.model_dump()),
            Scenario.model_validate_json(scenario.model_dump_json()),
        ):
            assert again == scenario
            assert fingerprint(again) == fingerprint(scenario)


def test_saying_a_default_that_is_no_default_changes_the_run(tmp_path: Path) -> None:
    text = changed(
        ("{hidden: 64, layers: 4, heads: 4, feed_forward: 128, max_positions: 64}", "{checkpoint: c}"),
        ("{kind: wordpiece, vocabulary: 900}", "{kind: checkpoint, checkpoint: c}"),
    )
    file = write(tmp_path, text)
    plain, given = load(file).scenario, load(file, ["model.dropout=0.1"]).scenario
    assert fingerprint(plain) != fingerprint(given)
    assert difference(plain, given) == ["model.dropout: absent -> 0.1"]
    again = Scenario.model_validate_json(plain.model_dump_json())
    assert "dropout" not in again.model.model_fields_set


def test_fingerprint_is_stable() -> None:
    scenario = Scenario.model_validate(
        {
            "name": "a",
            "fleet": {"clients": 2},
            "phases": {"finetune": {"rounds": 1, "participation": {"clients_per_round": 1}}},
            "methods": {"fedavg": None},
        }
    )
    assert len(fingerprint(scenario)) == 64
    assert fingerprint(scenario) == fingerprint(scenario.model_copy(deep=True))


@pytest.mark.parametrize("assignment", [*WITHOUT_EFFECT, "seed=8", "methods.fedavg.weighting=uniform"])
def test_seed_and_methods_are_no_part_of_the_world(assignment: str, tmp_path: Path) -> None:
    plain, given = (scenario.model_dump(mode="json") for scenario in both(tmp_path, assignment))
    assert world(plain) == world(given)


@pytest.mark.parametrize("assignment", ["fleet.clients=19", "engine.precision=bfloat16", "phases.finetune.rounds=2"])
def test_everything_else_is(assignment: str, tmp_path: Path) -> None:
    plain, given = (scenario.model_dump(mode="json") for scenario in both(tmp_path, assignment))
    assert world(plain) != world(given)
