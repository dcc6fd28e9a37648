from pathlib import Path

import pytest

from fedsim.errors import UserError
from fedsim.methods.centralized import Centralized
from fedsim.methods.fedbt import FedBT
from fedsim.scenario.data import DocstringCorpus
from fedsim.scenario.load import load
from fedsim.scenario.phases import Finetune
from fedsim.scenario.schema import Scenario

from .example import changed, write


def with_set(folder: Path, *assignments: str) -> Scenario:
    return load(write(folder), assignments).scenario


def test_values_are_yaml(tmp_path: Path) -> None:
    scenario = with_set(
        tmp_path,
        "seed=1e3",
        "summary=on: a note",
        "summary='a: b'",
        "outputs.save_models=false",
        "phases.finetune.local.optimizer.learning_rate=5e-5",
        "data.corpus.libraries=[stdlib]",
    )
    assert scenario.seed == 1000
    assert scenario.summary == "a: b"
    assert scenario.outputs.save_models is False
    assert isinstance(scenario.phases.finetune, Finetune)
    assert scenario.phases.finetune.local.optimizer.learning_rate == 5e-5
    assert isinstance(scenario.data.corpus, DocstringCorpus)
    assert scenario.data.corpus.libraries == ("stdlib",)


def test_the_last_one_counts(tmp_path: Path) -> None:
    assert with_set(tmp_path, "seed=1", "seed=2").seed == 2


def test_sections(tmp_path: Path) -> None:
    scenario = with_set(
        tmp_path,
        "phases.pretrain=null",
        "phases.evaluate=",
        "engine={kind: inline, block_clients: 4}",
        "methods.fedbt.finetune.cycle=3",
        "methods.central={kind: centralized}",
        "data.corpus.libraries.1=sympy",
    )
    assert scenario.phases.pretrain is None
    assert scenario.phases.evaluate is None
    assert scenario.engine.block_clients == 4
    assert isinstance(fedbt := scenario.methods["fedbt"], FedBT)
    assert fedbt.finetune.cycle == 3
    assert fedbt.pool == "needed", "the rest of the section stays"
    assert isinstance(scenario.methods["central"], Centralized)
    assert isinstance(scenario.data.corpus, DocstringCorpus)
    assert scenario.data.corpus.libraries == ("stdlib", "sympy")


def test_a_method_without_options_gets_some(tmp_path: Path) -> None:
    assert (
        with_set(tmp_path, "methods.fedavg.learning_rates.finetune=1e-4").methods["fedavg"]
        != with_set(tmp_path).methods["fedavg"]
    )


def test_a_name_with_dots(tmp_path: Path) -> None:
    file = write(tmp_path, changed(("  light:", "  bert.v1.5:")))
    scenario = load(file, ["methods.bert.v1.5.model.layers=1"]).scenario
    assert scenario.methods["bert.v1.5"].model is not None
    assert scenario.methods["bert.v1.5"].model.layers == 1


@pytest.mark.parametrize(
    ("assignment", "key", "says"),
    [
        ("sed=3", "sed", "unknown key; did you mean 'seed'?"),
        ("modl.layers=3", "modl", "unknown key; did you mean 'model'?"),
        ("model.layer=3", "model.layer", "unknown key; did you mean 'layers'?"),
        ("engine.host.count=3", "engine.host", "unknown key; did you mean 'hosts'?"),
        ("model.layers=0", "model.layers", "must be at least 1, given 0"),
        ("model.layers=many", "model.layers", "wanted an integer, given 'many'"),
        ("model={heads: 7}", "model.heads", "must divide hidden (768), given 7"),
        ("engine.kind=inlin", "engine.kind", "did you mean 'inline'? allowed: inline, ray"),
        ("fleet=null", "fleet", "wanted a mapping of keys, given nothing (null)"),
        ("phases.finetune={rounds: 1}", "phases.finetune.participation", "is required"),
        ("methods.fedsgd.mu=1", "methods.fedsgd", "needs a `kind`"),
        ("phases.finetune.task.label=x", "phases.finetune.task.label", "allowed: kind, library"),
    ],
)
def test_a_mistake_names_the_assignment(assignment: str, key: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        with_set(tmp_path, "seed=3", assignment)
    error = caught.value
    assert (error.file, error.line, error.key) == (f"--set {assignment}", None, key)
    assert says in error.message
    assert str(error).startswith(f"--set {assignment}: {key}: ")


@pytest.mark.parametrize(
    ("assignment", "says"),
    [
        ("seed", "write it as key.path=value"),
        ("=3", "write it as key.path=value"),
        ("model..layers=3", "write it as key.path=value"),
        ("seed.x=3", "seed is a value, not a section"),
        ("data.corpus.libraries.2=x", "data.corpus.libraries is a list of 2: use an index from 0"),
        ("data.corpus.libraries.first=x", "use an index from 0"),
        ("engine={kind: [", "is not YAML"),
        ("engine={hosts: 1, hosts: 2}", "'hosts' is given twice"),
        ("seed=!!python/name:os.system x", "is not allowed"),
    ],
)
def test_what_is_no_assignment(assignment: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        with_set(tmp_path, assignment)
    assert caught.value.file == f"--set {assignment}"
    assert says in caught.value.message


def test_mistakes_of_the_file_come_first(tmp_path: Path) -> None:
    file = write(tmp_path, changed(("heads: 4", "heads: none")))
    with pytest.raises(UserError) as caught:
        load(file, ["seed=-1"])
    first, second = str(caught.value).splitlines()
    assert first.startswith(f"{file}:10: model.heads: ")
    assert second.startswith("--set seed=-1: seed: must be at least 0")


def test_what_an_assignment_breaks_elsewhere_is_told_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a cohort of 13, fleet\.clients is 5") as caught:
        with_set(tmp_path, "fleet.clients=5")
    assert caught.value.line == 21
