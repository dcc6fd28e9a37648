"""What a user may get wrong, through the real command: one message that says what to change, and nothing written."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from tests.command import SCENARIO, Desk

Change = tuple[str, str]

MODEL = "model: {hidden: 16, layers: 4, heads: 2, feed_forward: 32, max_positions: 24}"
CORPUS = "corpus: {kind: files, train: [train.jsonl], test: [test.jsonl], client: client, labels: [topic]}"
TOKENIZER = "tokenizer: {vocabulary: 300}"
PARTITION = "partition: {kind: natural}"
TASK = "task: {label: topic}"
FLEET = "fleet: {clients: 8}"
FLEET_FILE = (FLEET, "fleet: {clients: 8, source: {kind: file, path: fleet.csv}}")
DECLARED = (
    (CORPUS, "corpus: {kind: declared, samples_per_client: 10, tokens: 20, classes: 3}"),
    (f"  {TOKENIZER}\n  {PARTITION}\n", "\n\n"),
    ("  central_fraction: 0.2\n", "\n"),
    ("  pretrain: {steps: 3}\n", ""),
)
COLUMNS = "flops_per_s,memory_bytes,downlink_bits_per_s,uplink_bits_per_s,latency_s,compute_power_w,radio_power_w"
STUDENT = (
    "  x: {kind: tinybert, general: {where: clients}, "
    "model: {hidden: 8, layers: 2, heads: %d, feed_forward: 8, max_positions: 24, vocabulary: 999}}"
)
DEVICE = "1e9,1000000000,1e6,1e6,0.1,2,1"


def sample(text: str, client: str = "a", topic: str = "x") -> str:
    return f'{{"text": "{text}", "client": "{client}", "topic": "{topic}"}}\n'


def devices(last: str, count: int = 8) -> bytes:
    return "\n".join([COLUMNS, *[DEVICE] * (count - 1), last, ""]).encode()


@dataclass(frozen=True)
class Case:
    """Changes to the scenario, other files, options; and what the message must say, in this order."""

    name: str
    says: tuple[str, ...]
    changes: tuple[Change, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)
    options: tuple[str, ...] = ()


def case(name: str, *says: str, changes: tuple[Change, ...] = (), options: str = "", **files: bytes | str) -> Case:
    """Files by name, with `_` for the dot."""
    content = {k.replace("_", "."): v if isinstance(v, bytes) else v.encode() for k, v in files.items()}
    return Case(name, says, changes, content, tuple(options.split()))


SYNTAX = [
    case("a list", "mine.yaml:1: ", "wanted a mapping", changes=((SCENARIO, "- 1\n- 2\n"),)),
    case("an empty file", "mine.yaml: is empty", changes=((SCENARIO, ""),)),
    case("broken YAML", "mine.yaml:9: is not YAML: ", changes=(("{hidden: 16", "{hidden: 16, ["),)),
    case("a tab", "mine.yaml:5: a tab cannot indent: use spaces", changes=(("  tokenizer", "\ttokenizer"),)),
    case("code", "mine.yaml:2: the tag ", "not allowed", changes=(("seed: 3", "seed: !!python/name:os.system ''"),)),
    case("twice", "mine.yaml:3: seed: is given twice: first on line 2", changes=(("seed: 3", "seed: 3\nseed: 4"),)),
    case("not UTF-8", "mine.yaml:1: is not UTF-8", mine_yaml=SCENARIO.replace("mine", "m\xefne").encode("latin-1")),
]
SETTINGS = [
    case("unknown key", "mine.yaml:9: model.hiden: ", "'hidden'", changes=(("{hidden", "{hiden: 3, hidden"),)),
    case("wrong type", "mine.yaml:14: phases.further_pretrain.rounds: wanted an", changes=(("ds: 3", "ds: '3'"),)),
    case(
        "negative speed",
        "mine.yaml:12: phases.pretrain.optimizer.learning_rate: must be more than 0, given -1",
        changes=(("{steps: 3}", "{steps: 3, optimizer: {learning_rate: -1}}"),),
    ),
    case("missing section", "mine.yaml:1: methods: is required", changes=(("methods:\n  fedavg:\n  fedbt:\n", ""),)),
    case("no method", "mine.yaml:20: methods: needs at least 1", changes=((":\n  fedavg:\n  fedbt:\n", ": {}\n"),)),
    case("unknown method", "mine.yaml:22: methods.fedbtt: ", "'fedbt'", changes=(("  fedbt:", "  fedbtt:"),)),
    case("kind", "mine.yaml:22: methods.x.kind: ", "centralized, ", changes=(("  fedbt:", "  x: {kind: prox}"),)),
    case("heads", "mine.yaml:9: model.heads: must divide hidden (16), given 3", changes=(("heads: 2", "heads: 3"),)),
    case("long samples", "mine.yaml:9: model.max_positions: is 24, less", changes=(("tokens: 24", "tokens: 240"),)),
    case("name", "mine.yaml:1: name: only letters", "'my run'", changes=(("name: mine", "name: my run"),)),
    case(
        "cohort larger than fleet",
        "mine.yaml:18: phases.finetune.participation.clients_per_round: ",
        "fleet.clients is 8",
        changes=(("clients_per_round: 5", "clients_per_round: 50"),),
    ),
    case(
        "replayed stranger",
        "mine.yaml:18: phases.finetune.participation.cohorts.1: names client 9",
        changes=(("{clients_per_round: 5}", "{clients_per_round: 5, cohorts: [[1, 2], [9]]}"),),
    ),
    case(
        "nothing to pre-train on",
        "mine.yaml:11: phases.pretrain: has no text to train on: give data.central_fraction",
        changes=(("  central_fraction: 0.2\n", ""),),
    ),
    case(
        "unknown task", "mine.yaml:19: phases.finetune.task.label: ", "topic", changes=(("label: topic", "label: x"),)
    ),
    case(
        "bits",
        "mine.yaml:21: methods.fedavg.upload.bits: unknown value the number 3; allowed: 2, 4, 8, 16, 32",
        changes=(("  fedavg:\n", "  fedavg: {upload: {bits: 3}}\n"),),
    ),
    case(
        "global layer",
        "mine.yaml:21: methods.x.global_layers.1: is 4, the model's layers are 0 to 3",
        changes=(("  fedavg:\n", "  x: {kind: fedsplitbert, global_layers: [0, 4]}\n"),),
    ),
    case(
        "no global layer",
        "mine.yaml:21: methods.x.global_layers: names no layer",
        changes=(("  fedavg:\n", "  x: {kind: fedsplitbert, global_layers: []}\n"),),
    ),
    case(
        "more stages than layers",
        "mine.yaml:21: methods.x.finetune.stages: is 5, the global model has 4 layers",
        changes=(("  fedavg:\n", "  x: {kind: progfed, further_pretrain: {stages: 3}, finetune: {stages: 5}}\n"),),
    ),
    case(
        "a model that grows too far",
        "mine.yaml:21: methods.x.further_pretrain.boundaries: must end with all 4 layers of the global model, given 5",
        changes=(("  fedavg:\n", "  x: {kind: progfed, further_pretrain: {boundaries: [2, 5]}}\n"),),
    ),
    case(
        "a cut of no kind",
        "mine.yaml:21: methods.x.cut: unknown value the number 2; allowed: bfloat16, float32, int8",
        changes=(("  fedavg:\n", "  x: {kind: fedbert, cut: 2}\n"),),
    ),
    case(
        "a teacher with another vocabulary",
        "mine.yaml:21: methods.x.model.vocabulary: is 999, its teacher (`model`) has 500: they must share one",
        changes=(("feed_forward: 32,", "feed_forward: 32, vocabulary: 500,"), ("  fedavg:\n", f"{STUDENT % 2}\n")),
    ),
    case(
        "a teacher with other heads",
        "mine.yaml:21: methods.x.general.loss.attention: compares head by head: the teacher has 2 heads, the student 4",
        changes=(("feed_forward: 32,", "feed_forward: 32, vocabulary: 999,"), ("  fedavg:\n", f"{STUDENT % 4}\n")),
    ),
    case(
        "a mask over weights",
        "mine.yaml:21: methods.fedavg.what: is weights, of which upload.share 0.25 leaves few: use delta",
        changes=(("  fedavg:\n", "  fedavg: {upload: {share: 0.25}, what: weights}\n"),),
    ),
    case(
        "no head left",
        "mine.yaml:21: methods.x.rates.0: leaves no attention head of 2: must be at least 0.5",
        changes=(("  fedavg:\n", "  x: {kind: heterofl, rates: [0.4, 1.0]}\n"),),
    ),
    case(
        "wider than the model",
        "mine.yaml:21: methods.x.rates.1: must be at most 1, given 1.5",
        changes=(("  fedavg:\n", "  x: {kind: heterofl, rates: [0.5, 1.5]}\n"),),
    ),
    case(
        "no threshold",
        "mine.yaml:21: methods.x.threshold: wanted a number, given 'high'",
        changes=(("  fedavg:\n", "  x: {kind: head_pruning, threshold: high}\n"),),
    ),
    case(
        "several at once",
        "mine.yaml:2: seed: ",
        "\nmine.yaml:9: model.layers: ",
        changes=(("seed: 3", "seed: x"), ("layers: 4", "layers: 0")),
    ),
]
DATA = [
    case(
        "missing file",
        "train.json1: data.corpus.train: no such",
        "jsonl'",
        changes=(("[train.jsonl]", "[train.json1]"), ("files, ", "files, format: jsonl, ")),
    ),
    case("ending", "mine.yaml:4: data.corpus.train.0: the ending of", changes=(("[train.jsonl]", "[train.json]"),)),
    case("tested on itself", "mine.yaml:4: data.corpus.test.0: ", changes=(("[test.jsonl]", "[train.jsonl]"),)),
    case("empty file", "train.jsonl: data.corpus.train: the file is empty", train_jsonl=""),
    case("blank lines", "train.jsonl: data.corpus.train: there is no sample in it", train_jsonl="\n\n"),
    case("no words", "train.jsonl: there is no sample in it", train_jsonl=sample(" ")),
    case(
        "not UTF-8 data",
        "train.jsonl:2: byte ",
        "save the file as UTF-8",
        train_jsonl=(sample("a") + sample("\xe9")).encode("latin-1"),
    ),
    case("broken JSON", "train.jsonl:2: not valid JSON", train_jsonl=sample("a") + '{"text": \n'),
    case(
        "null",
        "train.jsonl:2: data.corpus.text: column 'text' is null",
        train_jsonl=sample("a") + sample("b").replace('"b"', "null"),
    ),
    case(
        "a number",
        "train.jsonl:1: data.corpus.text: column 'text' must be text",
        train_jsonl=sample("b").replace('"b"', "5"),
    ),
    case(
        "no text column",
        "train.csv: data.corpus.text: no column 'text'",
        "'txt'",
        changes=(("[train.jsonl]", "[train.csv]"),),
        train_csv="txt,client,topic\na,b,c\n",
    ),
    case(
        "ragged",
        "train.csv:2: fields: 2, names in the header: 3",
        changes=(("[train.jsonl]", "[train.csv]"),),
        train_csv="text,client,topic\na,b\n",
    ),
    case(
        "cut short",
        "train.parquet: not a whole Parquet file",
        changes=(("[train.jsonl]", "[train.parquet]"),),
        train_parquet=b"PAR1 and no more",
    ),
    case(
        "no label column", "train.jsonl: data.corpus.labels: no column 'mood'", changes=(("[topic]", "[topic, mood]"),)
    ),
    case(
        "no client column",
        "train.jsonl: data.corpus.client: no column 'author'",
        changes=(("client: client", "client: author"),),
    ),
    case("unlabelled test", "test.jsonl: data.corpus.labels: no column 'topic'", test_jsonl='{"text": "abc def"}\n'),
    case(
        "one class",
        "mine.yaml:4: data.corpus.labels: column 'topic' has a single class, 'x'",
        train_jsonl=sample("a b") + sample("c d"),
        test_jsonl=sample("e f"),
    ),
    case(
        "few clients",
        "mine.yaml:6: data.partition.min_samples: 8 clients",
        "lower fleet.clients to 8",
        changes=(("clients: 8", "clients: 80"),),
    ),
    case(
        "few samples",
        "mine.yaml:6: data.partition.min_samples: 93 ",
        "lower min_samples to 11",
        changes=((PARTITION, "partition: {kind: iid, min_samples: 100}"),),
    ),
    case(
        "partition label",
        "mine.yaml:6: data.partition.label: unknown",
        changes=((PARTITION, "partition: {kind: dirichlet, alpha: 1, label: x}"),),
    ),
    case(
        "unknown library",
        "mine.yaml:4: data.corpus.libraries: ",
        "'numpy'",
        changes=((CORPUS, "corpus: {kind: docstrings, libraries: [nunpy]}"), (TASK, "task: {label: kind}")),
    ),
    case(
        "data set",
        "nowhere: data.corpus.name: no such folder",
        changes=(
            (CORPUS, "corpus: {kind: hub, name: ./nowhere, labels: [topic]}"),
            (PARTITION, "partition: {kind: iid}"),
        ),
    ),
    case(
        "tokenizer",
        "mine.yaml:5: data.tokenizer.checkpoint: there is no folder './nowhere'",
        changes=((TOKENIZER, "tokenizer: {kind: checkpoint, checkpoint: ./nowhere}"),),
    ),
    case(
        "model checkpoint",
        "mine.yaml:9: model.checkpoint: no checkpoint at nowhere",
        changes=(*DECLARED, (MODEL, "model: {checkpoint: ./nowhere}\n")),
        options="--price",
    ),
    case(
        "declared",
        "mine.yaml:4: data.corpus: declared data has no text to train on: add --price",
        changes=(*DECLARED, ("positions: 24}", "positions: 24, vocabulary: 300}")),
    ),
]
DEVICES = [
    case(
        "device class",
        "mine.yaml:10: fleet.source.devices.phone_lo: ",
        "'phone_low'",
        changes=((FLEET, "fleet: {clients: 8, source: {kind: catalog, devices: {phone_lo: 1}}}"),),
    ),
    case(
        "source",
        "mine.yaml:10: fleet.source.kind: is required",
        changes=((FLEET, "fleet: {clients: 8, source: {path: x.csv}}"),),
    ),
    case("no fleet file", "fleet.csv: fleet.source.path: ", "No such file", changes=(FLEET_FILE,)),
    case(
        "NaN",
        "fleet.csv:9: flops_per_s: row 8 is nan",
        changes=(FLEET_FILE,),
        fleet_csv=devices(DEVICE.replace("1e9", "nan")),
    ),
    case(
        "backwards",
        "fleet.csv:9: uplink_bits_per_s: row 8 is -1",
        changes=(FLEET_FILE,),
        fleet_csv=devices(DEVICE.replace("1e6,0", "-1,0")),
    ),
    case(
        "a word",
        "fleet.csv:9: flops_per_s: row 8 is 'fast'",
        changes=(FLEET_FILE,),
        fleet_csv=devices(DEVICE.replace("1e9", "fast")),
    ),
    case(
        "rows",
        "mine.yaml:10: fleet.clients: ",
        "has 7 rows, fleet.clients is 8",
        changes=(FLEET_FILE,),
        fleet_csv=devices(DEVICE, 7),
    ),
    case(
        "no memory",
        "fleet.csv: memory_bytes: this column is missing",
        changes=(FLEET_FILE,),
        fleet_csv="flops_per_s\n1\n",
    ),
    case(
        "too much",
        "fleet.csv: speed: unknown column",
        changes=(FLEET_FILE,),
        fleet_csv=COLUMNS + ",speed\n" + f"{DEVICE},3\n" * 8,
    ),
    case("no GPU", "mine.yaml:23: engine.device: is cuda", changes=(("kind: inline", "kind: inline, device: cuda"),)),
]
OPTIONS = [
    case("no assignment", "--set model.layers: write it as key.path=value", options="--set model.layers"),
    case(
        "unknown setting", "--set model.layer=4: model.layer: unknown key; ", "'layers'", options="--set model.layer=4"
    ),
    case("below a value", "--set seed.x=4: seed is a value, not a section", options="--set seed.x=4"),
    case("assigned type", "--set seed=one: seed: wanted an integer", options="--set seed=one"),
    case(
        "assigned too much",
        "--set data.partition.min_samples=1: data.partition.min_samples: 8 clients",
        options="--set fleet.clients=9 --set data.partition.min_samples=1",
    ),
    case("unknown --method", "--method: no method 'fedbtt'", "'fedbt'", options="--method fedbtt"),
    case("no hosts", "--hosts: must be at least 1, given 0", options="--engine ray --hosts 0"),
    case("hosts of one process", "--hosts: goes with --engine ray", options="--hosts 2"),
    case("address of one process", "--address: goes with --engine ray", options="--engine inline --address auto"),
    case("price on an engine", "--engine: does not go with --price", options="--price --engine ray"),
    case("out is a file", "train.jsonl: is a file: choose another --out", options="--out train.jsonl"),
    case("out is full", ".: is not empty and holds no run: choose another --out", options="--out ."),
    case(
        "out below a file", "train.jsonl/run: cannot be written to (Not a directory)", options="--out train.jsonl/run"
    ),
    case("out nowhere", "/proc/nothing/run: cannot be written to", options="--out /proc/nothing/run"),
]


@pytest.mark.parametrize("mistake", [*SYNTAX, *SETTINGS, *DATA, *DEVICES, *OPTIONS], ids=lambda case: case.name)
def test_a_mistake_is_told_once_and_leaves_nothing(mistake: Case, work: Desk) -> None:
    work.write(*mistake.changes)
    for name, content in mistake.files.items():
        (work.folder / name).write_bytes(content)
    before = work.content()
    ended = work.run("scenario", "mine.yaml", *mistake.options)
    assert (ended.code, ended.out) == (2, ""), ended.err
    assert work.content() == before
    assert ended.err.count("error: ") == 1
    assert "Traceback" not in ended.err
    message = ended.err.partition("error: ")[2].replace(f"{work.folder}/", "")
    assert message.startswith(mistake.says[0]), message
    for fragment in mistake.says[1:]:
        assert fragment in message
