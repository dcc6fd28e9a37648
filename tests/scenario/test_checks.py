"""Corpora other than the example's, and what they ask of the other sections."""

from pathlib import Path

import pytest

from fedsim.errors import UserError
from fedsim.scenario.load import load
from fedsim.scenario.participation import Participation

from .example import write

PHASE = "phases: {%s: {rounds: 2, participation: {clients_per_round: 2}%s}}"


def world(corpus: str, data: str = "", phases: str = "", model: str = "{}") -> str:
    finetune = PHASE % ("finetune", "")
    return (
        f"name: other\ndata:\n  corpus: {corpus}\n{data}"
        f"model: {model}\nfleet: {{clients: 3}}\n{phases or finetune}\nmethods: {{fedavg: }}\n"
    )


DECLARED = "{kind: declared, samples_per_client: 10, tokens: 64}"
SIZES = "{vocabulary: 30522}"
MLM = PHASE % ("further_pretrain", "")
TOKENS = PHASE % ("finetune", ", task: {kind: tokens, label: disease}")
ABOUT = PHASE % ("finetune", ", task: {label: topic}")

RIGHT = [
    world(DECLARED, model=SIZES),
    world("{kind: declared, samples_per_client: [1, 2, 3], tokens: 128}", model=SIZES),
    world("{kind: declared, samples_per_client: {median: 20, sigma: 1.0, most: 400}, tokens: 128}", model=SIZES),
    world("{kind: files, train: [a.jsonl], labels: [topic]}", phases=ABOUT),
    world("{kind: files, train: [a.txt]}", "  partition: {kind: repeated, samples: 8, sigma: 0.5}\n", MLM),
    world("{kind: files, train: [a.conll], test: [b.conll], tags: disease}", phases=TOKENS),
    world("{kind: files, train: [a.parquet], tokenised: true}", phases=MLM),
    world("{kind: files, train: [a.dat, b.dat], format: csv}", "  partition: {kind: natural}\n", MLM),
    world("{kind: hub, name: some/set, labels: [topic]}", phases=ABOUT),
    world("{kind: hub, name: some/set, test_split: null, test_fraction: 0.2}", phases=MLM),
    world("{kind: files, train: [a.txt]}", "  tokenizer: {kind: checkpoint, checkpoint: b}\n", MLM, "{checkpoint: b}"),
]

WRONG = [
    (world(DECLARED), 4, "model.vocabulary", "is required with declared data"),
    (
        world("{kind: declared, samples_per_client: {median: 20, sigma: 1.0, most: 4}, tokens: 9}", model=SIZES),
        3,
        "data.corpus.samples_per_client.most",
        "is 4, less than the median (20)",
    ),
    (
        world("{kind: declared, samples_per_client: {median: 20}, tokens: 9}", model=SIZES),
        3,
        "data.corpus.samples_per_client.sigma",
        "is required",
    ),
    (
        world(
            "{kind: files, train: [a.txt]}",
            "  partition: {kind: repeated, samples: 8}\n",
            "phases: {further_pretrain: {rounds: 2, participation: {clients_per_round: 2}}, evaluate: {personal: {}}}",
        ),
        7,
        "phases.evaluate.personal",
        "clients share samples",
    ),
    (
        world("{kind: files, train: [a.txt]}", "  partition: {kind: repeated, samples: 2, min_samples: 3}\n", MLM),
        4,
        "data.partition.samples",
        "is 2, min_samples asks for at least 3",
    ),
    (
        world("{kind: declared, samples_per_client: [1, 2], tokens: 9}", model=SIZES),
        3,
        "data.corpus.samples_per_client",
        "lists 2 clients, fleet.clients is 3",
    ),
    (
        world("{kind: declared, samples_per_client: [1, b, 2], tokens: 9}", model=SIZES),
        3,
        "data.corpus.samples_per_client.1",
        "wanted an integer, given 'b'",
    ),
    (
        world("{kind: declared, samples_per_client: 1.5, tokens: 9}", model=SIZES),
        3,
        "data.corpus.samples_per_client",
        "wanted an integer, given the number 1.5",
    ),
    (world(DECLARED, "  max_tokens: 32\n", model=SIZES), 4, "data.max_tokens", "less than corpus.tokens (64)"),
    (world(DECLARED, "  central_fraction: 0.5\n", model=SIZES), 4, "data.central_fraction", "not used by declared"),
    (world(DECLARED, "  tokenizer: {vocabulary: 400}\n", model=SIZES), 4, "data.tokenizer", "has tokens already"),
    (
        world(DECLARED, "  partition: {kind: natural}\n", model=SIZES),
        4,
        "data.partition",
        "declared data says",
    ),
    (
        world(DECLARED, phases="phases: {pretrain: {steps: 1}}", model=SIZES),
        6,
        "phases.pretrain",
        "declared data has no text",
    ),
    (world("{kind: files, train: []}", phases=MLM), 3, "data.corpus.train", "needs at least 1 entry"),
    (world("{kind: files, train: [a.doc]}", phases=MLM), 3, "data.corpus.train.0", "use: .jsonl, .csv, .parquet"),
    (world("{kind: files, train: [a.txt, a.txt]}", phases=MLM), 3, "data.corpus.train.1", "listed twice"),
    (world("{kind: files, train: [a.txt], test: [a.txt]}", phases=MLM), 3, "data.corpus.test.0", "cannot be held out"),
    (
        world("{kind: files, train: [a.txt], test: [b.txt], test_fraction: 0.3}", phases=MLM),
        3,
        "data.corpus.test_fraction",
        "remove one of them",
    ),
    (world("{kind: files, train: [a.conll]}", phases=MLM), 3, "data.corpus.tags", "is required for .conll files"),
    (world("{kind: files, train: [a.csv], tags: x}", phases=MLM), 3, "data.corpus.tags", "from .conll files only"),
    (world("{kind: files, train: [a.txt], labels: [x]}", phases=MLM), 3, "data.corpus.labels", "label columns are"),
    (world("{kind: files, train: [a.csv], labels: [x, x]}", phases=MLM), 3, "data.corpus.labels", "listed twice"),
    (world("{kind: files, train: [a.csv], tokenised: true}", phases=MLM), 3, "data.corpus.tokenised", ".parquet files"),
    (
        world("{kind: files, train: [a.txt]}", "  partition: {kind: natural}\n", MLM),
        4,
        "data.partition.kind",
        "files have none",
    ),
    (
        world("{kind: files, train: [a.csv], client: null}", "  partition: {kind: natural}\n", MLM),
        4,
        "data.partition.kind",
        "natural needs corpus.client",
    ),
    (
        world("{kind: hub, name: x}", "  partition: {kind: dirichlet, alpha: 1, label: topic}\n", MLM),
        4,
        "data.partition.label",
        "list it in corpus.labels",
    ),
    (world("{kind: hub, name: x, test_split: train}", phases=MLM), 3, "data.corpus.test_split", "cannot be held out"),
    (world("{kind: hub, name: x, test_fraction: 0.3}", phases=MLM), 3, "data.corpus.test_fraction", "test_split: null"),
    (world("{kind: files, train: [a.csv]}", phases=ABOUT), 6, "phases.finetune.task.label", "set data.corpus.labels"),
    (world("{kind: files, train: [a.csv]}", phases=TOKENS), 6, "phases.finetune.task.label", "set data.corpus.tags"),
    (world("{kind: hub, name: x}", phases=ABOUT), 6, "phases.finetune.task.label", "set data.corpus.labels"),
    (world("{kind: hub, name: x}", phases=TOKENS), 6, "phases.finetune.task.label", "use .conll files"),
    (
        world("{kind: files, train: [a.csv], labels: [genre]}", phases=ABOUT),
        6,
        "phases.finetune.task.label",
        "no label 'topic' for kind: sequence; allowed: genre",
    ),
    (
        world("{kind: files, train: [a.txt]}", phases=MLM, model="{checkpoint: b}"),
        4,
        "model.checkpoint",
        "set data.tokenizer to {kind: checkpoint, checkpoint: ...}",
    ),
    (world(DECLARED, phases="phases: {}", model=SIZES), 6, "phases", "give at least one of pretrain"),
]


@pytest.mark.parametrize("text", RIGHT)
def test_right(text: str, tmp_path: Path) -> None:
    assert load(write(tmp_path, text)).scenario.name == "other"


@pytest.mark.parametrize(("text", "line", "key", "says"), WRONG, ids=lambda value: str(value)[-30:])
def test_wrong(text: str, line: int, key: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        load(write(tmp_path, text))
    assert (caught.value.line, caught.value.key) == (line, key)
    assert says in caught.value.message
    assert "\n" not in caught.value.message


REPLAY = "phases: {finetune: {rounds: 2, participation: {clients_per_round: 1, cohorts: %s%s}}}"


def replay(cohorts: str, more: str = "") -> str:
    return world(DECLARED, model=SIZES, phases=REPLAY % (cohorts, more))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (replay("[[0]]"), "cohorts: lists 1 rounds, `rounds` is 2"),
        (replay("[[0], [1, 1]]"), "cohorts.1: must list at least one client, and each only once"),
        (replay("[[], [1]]"), "cohorts.0: must list at least one client"),
        (replay("[[0], [1, 3]]"), "cohorts.1: names client 3, the fleet's clients are 0 to 2"),
        (replay("[[0], [-1]]"), "cohorts.1.0: must be at least 0, given -1"),
        (replay("[[0], [1]]", ", over_selection: 2"), "over_selection: is not used where `cohorts` are given"),
    ],
)
def test_replayed_cohorts(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        load(write(tmp_path, text))
    assert f"phases.finetune.participation.{says}" in str(caught.value)


@pytest.mark.parametrize(
    ("wanted", "factor", "drawn"), [(10, 1.0, 10), (10, 1.1, 11), (10, 1.3, 13), (3, 1.5, 5), (7, 1.0001, 8)]
)
def test_over_selection_rounds_up_without_binary_noise(wanted: int, factor: float, drawn: int) -> None:
    assert Participation(clients_per_round=wanted, over_selection=factor).cohort_clients == drawn
