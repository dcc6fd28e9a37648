from pathlib import Path
from typing import NamedTuple

import pytest

from fedsim.errors import UserError
from fedsim.methods.fedavg import FedAvg
from fedsim.methods.fedbt import FedBT
from fedsim.scenario.data import DirichletPartition
from fedsim.scenario.load import load
from fedsim.scenario.phases import Finetune
from fedsim.scenario.schema import Scenario

from .example import TEXT, changed, write


class Mistake(NamedTuple):
    old: str
    new: str
    line: int
    key: str
    says: str


CORPUS = "{kind: docstrings, libraries: [stdlib, numpy]}"
TOKENIZER = "{kind: wordpiece, vocabulary: 900}"
PARTITION = "{kind: iid, min_samples: 2}"
SOURCE = "{kind: catalog, devices: {phone_low: 1}, networks: {4g: 1.0}}"
PARTICIPATION = "{clients_per_round: 10, over_selection: 1.3, deadline_s: 60}"
OPTIMIZER = "{kind: adamw, learning_rate: 1e-3}"
TASK = "{kind: sequence, label: library}"

MISTAKES = [
    # Unknown keys and words
    Mistake("seed: 7", "sed: 7", 3, "sed", "unknown key; did you mean 'seed'? allowed: data, engine, faults, fleet"),
    Mistake("  max_tokens: 32", "  max_token: 32", 8, "data.max_token", "did you mean 'max_tokens'?"),
    Mistake("layers: 4,", "layer: 4,", 10, "model.layer", "did you mean 'layers'? allowed: checkpoint, classifier"),
    Mistake("epochs: 2,", "epoch: 2,", 22, "phases.finetune.local.epoch", "did you mean 'epochs'?"),
    Mistake("{pool: needed}", "{pol: needed}", 27, "methods.fedbt.pol", "did you mean 'pool'?"),
    Mistake("{pool: needed}", "{pool: need}", 27, "methods.fedbt.pool", "did you mean 'needed'? allowed: full, needed"),
    Mistake("kind: adamw", "kind: adam", 22, "phases.finetune.local.optimizer.kind", "allowed: adamw, sgd"),
    Mistake("kind: docstrings", "kind: docs", 5, "data.corpus.kind", "allowed: declared, docstrings, files, hub"),
    Mistake("kind: iid", "kind: idd", 7, "data.partition.kind", "unknown kind 'idd'; did you mean 'iid'?"),
    Mistake("kind: catalog", "kind: 4", 13, "fleet.source.kind", "allowed: catalog, fedscale, file"),
    Mistake("kind: fedavg", "kind: fedsgd", 28, "methods.light.kind", "allowed: centralized, "),
    Mistake("  fedavg:\n", "  fedavgg:\n", 26, "methods.fedavgg", "needs a `kind`; did you mean 'fedavg'?"),
    Mistake("{kind: inline}", "{kind: inline, gpu: 1}", 29, "engine.gpu", "unknown key"),
    # Missing
    Mistake("    rounds: 3\n", "", 19, "phases.finetune.rounds", "is required (Rounds of this phase)"),
    Mistake("  clients: 20\n", "", 11, "fleet.clients", "is required (Number of registered clients)"),
    Mistake("kind: docstrings, ", "", 5, "data.corpus.kind", "is required; allowed: declared, docstrings"),
    Mistake("kind: fedavg, ", "", 28, "methods.light", "'light' is not a method, so it needs a `kind`"),
    Mistake("name: tiny\n", "", 1, "name", "is required"),
    # Wrong types
    Mistake("seed: 7", "seed: seven", 3, "seed", "wanted an integer, given 'seven'"),
    Mistake("seed: 7", "seed: true", 3, "seed", "wanted an integer, given true"),
    Mistake("seed: 7", "seed: '7'", 3, "seed", "wanted an integer, given '7'"),
    Mistake("clients: 20\n", "clients: 1:30\n", 12, "fleet.clients", "wanted an integer, given '1:30'"),
    Mistake("clients: 20\n", "clients: 2.5\n", 12, "fleet.clients", "wanted an integer, given the number 2.5"),
    Mistake("clients: 20\n", "clients: 020\n", 12, "fleet.clients", "wanted an integer, given '020'"),
    Mistake("name: tiny", "name: 2024", 1, "name", "wanted text, given the number 2024: put it in quotes"),
    Mistake(CORPUS, "docstrings", 5, "data.corpus", "given 'docstrings': write {kind: docstrings}"),
    Mistake(CORPUS, "files", 5, "data.corpus", "given 'files': write {kind: files}"),
    Mistake("[stdlib, numpy]", "stdlib", 5, "data.corpus.libraries", "wanted a list, given 'stdlib'"),
    Mistake("{kind: inline}", "inline", 29, "engine", "wanted a mapping of keys, given 'inline'"),
    Mistake("{folder: out}", "{save_models: yes}", 30, "outputs.save_models", "wanted true or false, given 'yes'"),
    Mistake("{pool: needed}", "[]", 27, "methods.fedbt", "wanted a mapping of keys, given a list"),
    # Out of range
    Mistake("deadline_s: 60", "deadline_s: 0", 21, "phases.finetune.participation.deadline_s", "must be more than 0"),
    Mistake("1e-3", "-1e-3", 22, "phases.finetune.local.optimizer.learning_rate", "must be more than 0, given -0.001"),
    Mistake("1e-3", ".inf", 22, "phases.finetune.local.optimizer.learning_rate", "wanted a finite number"),
    Mistake("    rounds: 3", "    rounds: 0", 20, "phases.finetune.rounds", "must be at least 1, given 0"),
    Mistake("central_fraction: 0.2", "central_fraction: 1", 9, "data.central_fraction", "must be less than 1, given 1"),
    Mistake("{4g: 1.0}", "{}", 13, "fleet.source.networks", "needs at least 1 entry, given 0 entries"),
    Mistake("{4g: 1.0}", "{4g: -1}", 13, "fleet.source.networks.4g", "must be more than 0, given -1"),
    Mistake("name: tiny", "name: tiny world", 1, "name", "only letters, digits, '_', '.' and '-'"),
    Mistake("  light: ", "  l/2: ", 28, "methods.l/2", "only letters, digits, '_', '.' and '-'"),
    Mistake("[stdlib, numpy]", "[]", 5, "data.corpus.libraries", "needs at least 1 entry"),
    Mistake("[stdlib, numpy]", '[stdlib, ""]', 5, "data.corpus.libraries.1", "must not be empty"),
    # Settings of one section that do not go together
    Mistake("[stdlib, numpy]", "[numpy, numpy]", 5, "data.corpus.libraries", "'numpy' is listed twice"),
    Mistake("heads: 4", "heads: 5", 10, "model.heads", "must divide hidden (64), given 5"),
    Mistake("layers: 2, heads: 2", "layers: 2, heads: 3", 28, "methods.light.model.heads", "must divide hidden (32)"),
    Mistake("{pool: needed}", "{model: {checkpoint: a, layers: 4}}", 27, "methods.fedbt.model.layers", "remove it"),
    Mistake(TOKENIZER, "{kind: checkpoint}", 6, "data.tokenizer.checkpoint", "is required with kind: checkpoint"),
    Mistake(TOKENIZER, "{checkpoint: a}", 6, "data.tokenizer.checkpoint", "goes with kind: checkpoint"),
    Mistake(PARTITION, "{kind: quantity}", 7, "data.partition.sigma", "give either `sigma` or `shares`"),
    Mistake("1e-3}", "1e-3, momentum: 0.9}", 22, "phases.finetune.local.optimizer.momentum", "goes with kind: sgd"),
    Mistake(OPTIMIZER, "{kind: sgd, eps: 1e-6}", 22, "phases.finetune.local.optimizer.eps", "goes with kind: adamw"),
    Mistake("warmup_steps: 2", "warmup_steps: 11", 15, "phases.pretrain.warmup_steps", "there are only 10 steps"),
    Mistake("{kind: inline}", "{gpus_per_host: 0.5}", 29, "engine.gpus_per_host", "goes with device: cuda"),
    Mistake(SOURCE, "{kind: file, path: fleet.xls}", 13, "fleet.source.path", "must end in .csv or .parquet"),
    Mistake(
        "{pool: needed}",
        "{finetune: {schedule: half, cycle: 2}}",
        27,
        "methods.fedbt.finetune.cycle",
        "goes with schedule: cyclic, schedule is half",
    ),
    # Sections that do not go together
    Mistake("clients: 20\n", "clients: 12\n", 21, "phases.finetune.participation.clients_per_round", "a cohort of 13"),
    Mistake("max_positions: 64", "max_positions: 16", 10, "model.max_positions", "less than data.max_tokens (32)"),
    Mistake("label: library", "label: libary", 23, "phases.finetune.task.label", "allowed: kind, library"),
    Mistake("kind: sequence", "kind: tokens", 23, "phases.finetune.task.label", "allowed: names"),
    Mistake("  central_fraction: 0.2\n", "", 14, "phases.pretrain", "give data.central_fraction a value"),
    Mistake("hidden: 64,", "hidden: 64, vocabulary: 500,", 10, "model.vocabulary", "data.tokenizer.vocabulary (900)"),
    Mistake(
        "{pool: needed}",
        "{further_pretrain: {local_layers: 6}}",
        27,
        "methods.fedbt.further_pretrain.local_layers",
        "is 6, the global model has 4 layers",
    ),
    Mistake("{pool: needed}", "{finetune: {cycle: 5}}", 27, "methods.fedbt.finetune.cycle", "has 4 layers"),
    Mistake(
        PARTITION,
        "{kind: dirichlet, alpha: 0.5, label: names}",
        7,
        "data.partition.label",
        "unknown label 'names'; allowed: kind, library",
    ),
    Mistake(PARTITION, "{kind: quantity, shares: [1, 2]}", 7, "data.partition.shares", "fleet.clients is 20"),
    Mistake("max_tokens: 32", "max_tokens: 32\n  max_samples_per_client: 1", 9, "data.max_samples_per_client", "2"),
]


def test_the_example_is_right(tmp_path: Path) -> None:
    loaded = load(write(tmp_path))
    scenario = loaded.scenario
    assert loaded.text == TEXT
    assert loaded.base == tmp_path.resolve()
    assert isinstance(scenario.methods["fedavg"], FedAvg)
    assert isinstance(scenario.methods["fedbt"], FedBT)
    assert isinstance(scenario.phases.finetune, Finetune)
    assert scenario.phases.finetune.local.optimizer.learning_rate == 1e-3
    assert list(scenario.models()) == ["model", "methods.light.model"]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: f"{mistake.key}-{mistake.new[:20].strip()}")
def test_a_mistake_is_told_with_line_key_and_remedy(mistake: Mistake, tmp_path: Path) -> None:
    file = write(tmp_path, changed((mistake.old, mistake.new)))
    with pytest.raises(UserError) as caught:
        load(file)
    error = caught.value
    assert (error.file, error.line, error.key) == (str(file), mistake.line, mistake.key)
    assert mistake.says in error.message
    assert "\n" not in error.message, "one mistake, one line"
    assert str(error) == f"{file}:{mistake.line}: {mistake.key}: {error.message}"


def test_all_mistakes_are_told_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = changed(("seed: 7", "seed: -1"), ("kind: iid", "kind: iidd"), ("heads: 4,", "heads: 4, depth: 1,"))
    file = write(tmp_path, text + "seed: 8\n")
    with pytest.raises(UserError) as caught:
        load(file)
    lines = str(caught.value).splitlines()
    assert [line.removeprefix(f"{file}:").split(": ")[:2] for line in lines] == [
        ["7", "data.partition.kind"],
        ["10", "model.depth"],
        ["31", "seed"],
    ]
    assert lines[-1].endswith("is given twice: first on line 3")


def test_disagreements_are_told_together(tmp_path: Path) -> None:
    file = write(tmp_path, changed(("max_tokens: 32", "max_tokens: 100"), ("label: library", "label: none")))
    with pytest.raises(UserError) as caught:
        load(file)
    keys = [line.split(": ")[1] for line in str(caught.value).splitlines()]
    assert keys == ["model.max_positions", "phases.finetune.task.label", "methods.light.model.max_positions"]


def test_an_item_of_a_list_has_its_own_line(tmp_path: Path) -> None:
    file = write(tmp_path, changed(("[stdlib, numpy]}", "[stdlib,\n    numpy,\n    5]}")))
    with pytest.raises(UserError, match=r"data\.corpus\.libraries\.2: wanted text, given the number 5") as caught:
        load(file)
    assert caught.value.line == 7


def test_a_wrong_entry_does_not_make_a_list_too_short(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        load(write(tmp_path, changed(("[stdlib, numpy]", "[5]"))))
    assert str(caught.value).count("\n") == 0


def test_a_section_left_empty_has_its_defaults(tmp_path: Path) -> None:
    empty = load(write(tmp_path, changed(("engine: {kind: inline}", "engine:"), ("outputs: {folder: out}", ""))))
    assert empty.scenario.engine == Scenario.model_fields["engine"].default


def test_a_null_phase_is_left_out(tmp_path: Path) -> None:
    scenario = load(write(tmp_path, changed(("evaluate: {max_samples: 50}", "evaluate:")))).scenario
    assert scenario.phases.evaluate is None


@pytest.mark.parametrize(("text", "says"), [("- a\n- b\n", "given a list"), ("hello\n", "given 'hello'")])
def test_a_file_that_is_no_mapping(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"wanted a mapping of keys, {says}") as caught:
        load(write(tmp_path, text))
    assert caught.value.line == 1


def test_a_user_in_python_sees_the_key_too() -> None:
    with pytest.raises(ValueError, match=r"heads: must divide hidden \(768\), given 5"):
        Scenario.model_validate(
            {
                "name": "x",
                "fleet": {"clients": 3},
                "model": {"heads": 5},
                "phases": {"finetune": {"rounds": 1, "participation": {"clients_per_round": 1}}},
                "methods": {"fedavg": None},
            }
        )


def test_a_dirichlet_partition_over_a_label(tmp_path: Path) -> None:
    text = changed((PARTITION, "{kind: dirichlet, alpha: 1e-1, label: kind}"))
    assert load(write(tmp_path, text)).scenario.data.partition == DirichletPartition(alpha=0.1, label="kind")
