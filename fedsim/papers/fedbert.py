"""FedBERT: Tian et al., ACM TIST 2022, doi 10.1145/3510033."""

from collections.abc import Iterator, Sequence

from fedsim.cost.split import split_cost
from fedsim.methods.fedbert import FedBERT
from fedsim.model.architecture import LocalShape
from fedsim.papers.base import BERT_BASE, MLM, Row, one_batch, whole_bytes
from fedsim.scenario.phases import Optimizer

TITLE = "FedBERT: When Federated Learning Meets Pre-training (2022)"


def rows() -> Sequence[Row]:
    """Traffic of a step, and how many steps move as much as a round of FedAvg."""
    return [*_step(16, 512, 100.7, 8.7), *_step(32, 128, 50.3, 17.4)]


def _step(samples: int, tokens: int, printed_mb: float, printed_steps: float) -> Iterator[Row]:
    (stage,) = FedBERT().stages("further_pretrain", 1, BERT_BASE, MLM)
    (plan,) = stage.plans
    assert plan.split is not None
    cost = split_cost(LocalShape.of(BERT_BASE, MLM, plan), plan.split, Optimizer())
    remote = cost.price(one_batch(samples, tokens, samples * tokens))
    crossing = int(remote.cut_upload_bytes[0] + remote.cut_download_bytes[0])
    table, row = "arithmetic (the article's tables were not open to us)", f"{samples} x {tokens} tokens"
    closed = "printed: 4 messages of B x L x 768 float32; ours adds 4 bytes a sample for its length"
    yield Row(table, row, "traffic of a step", "MB", printed_mb, crossing / 1e6, closed)
    overtaken = "a client's round of FedAvg: the whole model, both ways"
    steps = 2 * whole_bytes(BERT_BASE, MLM) / crossing
    yield Row(table, row, "steps as heavy as a round", "steps", printed_steps, steps, overtaken)
