"""FedSplitBERT: Li, Si, Wang and Xiao, IJCNN 2022, arXiv 2205.13299."""

from collections.abc import Sequence

from fedsim.methods.fedsplitbert import FedSplitBERT
from fedsim.papers.base import BERT_BASE, MLM, Row, one_batch, spent
from fedsim.wire import Codec

TITLE = "FedSplitBERT: Federated Split BERT for Heterogeneous Text Classification (2022)"


def rows() -> Sequence[Row]:
    """How much less is sent: the abstract says how much, and not with what."""
    reading = "our reading: 4 of 12 layers global, 8 bits, counted over the encoder's layers"
    work = one_batch(32, 128, 614)
    everything = FedSplitBERT(global_layers=tuple(range(12)))
    whole = spent(everything, "further_pretrain", 1, BERT_BASE, MLM, work).upload_bytes
    found = []
    for scheme, text in (("tensor", "one scale a tensor"), ("row", "one scale a row")):
        split = FedSplitBERT(upload=Codec.model_validate({"bits": 8, "scheme": scheme}))
        sent = spent(split, "further_pretrain", 1, BERT_BASE, MLM, work).upload_bytes
        found.append(Row("abstract", text, "less communication", "times", 11.9, whole / sent, reading))
    return found
