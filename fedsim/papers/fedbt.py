"""FedBT: Wang et al., Journal of Software 36(9), 2025; tables 1 and 3."""

from collections.abc import Iterator, Mapping, Sequence

from fedsim.methods.base import Method, PhaseName
from fedsim.methods.fedavg import FedAvg
from fedsim.methods.fedbt import FedBT
from fedsim.model.architecture import Architecture, Head
from fedsim.papers.base import BERT_BASE, DISTILBERT, MLM, TINYBERT_4, TINYBERT_6, Row, one_batch, spent

TITLE = "FedBT: Efficient Training Framework for BERT Based on Federated Learning (2025)"

MB, MIB = 10**6, 2**20
_MODELS: Mapping[str, tuple[Method, Architecture]] = {
    "BERT-FL": (FedAvg(), BERT_BASE),
    "DistilBERT": (FedAvg(), DISTILBERT),
    "TinyBERT-6": (FedAvg(), TINYBERT_6),
    "TinyBERT-4": (FedAvg(), TINYBERT_4),
    "FedBT": (FedBT(), BERT_BASE),
}
_SLIP = "the table's other payloads are in MiB, this one is in MB"
_SECONDS = "printed: share of seconds on the article's machine"


def rows() -> Sequence[Row]:
    """Payload of a client's upload in a round, and its computation as a share of BERT-FL's."""
    return [*_pretraining(), *_finetuning()]


def _pretraining() -> Iterator[Row]:
    payload = {"BERT-FL": 417.83, "DistilBERT": 267.98, "TinyBERT-6": 255.57, "TinyBERT-4": 54.88, "FedBT": 29.42}
    compute = {"DistilBERT": 55.37, "TinyBERT-6": 49.23, "TinyBERT-4": 18.20, "FedBT": 34.31}
    units = {name: ("MB", MB, _SLIP) if name == "DistilBERT" else ("MiB", MIB, "") for name in payload}
    shares = {"TinyBERT-6": 61.17, "TinyBERT-4": 13.13, "FedBT": 7.04}
    yield from _table("table 1", "further_pretrain", 5, MLM, payload, units, shares, compute)


def _finetuning() -> Iterator[Row]:
    payload = {"BERT-FL": 435.67, "DistilBERT": 265.53, "TinyBERT-6": 265.50, "TinyBERT-4": 57.05, "FedBT": 87.95}
    shares = {"DistilBERT": 60.95, "TinyBERT-6": 60.94, "TinyBERT-4": 13.09, "FedBT": 20.19}
    compute = {"DistilBERT": 51.92, "TinyBERT-6": 52.39, "TinyBERT-4": 18.01, "FedBT": 48.26}
    units = dict.fromkeys(payload, ("MB", MB, ""))
    yield from _table("table 3", "finetune", 10, Head("linear", 13), payload, units, shares, compute)


def _table(
    table: str,
    phase: PhaseName,
    rounds: int,
    head: Head,
    payload: Mapping[str, float],
    units: Mapping[str, tuple[str, int, str]],
    shares: Mapping[str, float],
    compute: Mapping[str, float],
) -> Iterator[Row]:
    # 32 samples of 128 tokens; the authors' code evaluates the vocabulary at every position
    work = one_batch(32, 128, 32 * 128 if head.kind == "mlm" else 32)
    ours = {name: spent(method, phase, rounds, model, head, work) for name, (method, model) in _MODELS.items()}
    whole = ours["BERT-FL"]
    for name, printed in payload.items():
        unit, size, note = units[name]
        yield Row(table, name, "payload", unit, printed, ours[name].upload_bytes / size, note)
    for name, printed in shares.items():
        share = 100 * ours[name].upload_bytes / whole.upload_bytes
        yield Row(table, name, "payload", "% of BERT-FL", printed, share, "upload alone, as printed")
    for name, printed in compute.items():
        share = 100 * ours[name].layers_only_flops / whole.layers_only_flops
        yield Row(table, name, "compute, layers only", "% of BERT-FL", printed, share, _SECONDS)
        share = 100 * ours[name].flops / whole.flops
        yield Row(table, name, "compute, all FLOPs", "% of BERT-FL", printed, share, _SECONDS)
