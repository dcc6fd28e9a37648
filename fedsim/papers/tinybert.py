"""TinyBERT: Jiao et al., Findings of EMNLP 2020, arXiv 1909.10351."""

from collections.abc import Sequence

from fedsim.papers.base import BERT_BASE, MLM, TINYBERT_4, TINYBERT_6, Row, encoder_parameters, whole_bytes

TITLE = "TinyBERT: Distilling BERT for Natural Language Understanding (2020)"


def rows() -> Sequence[Row]:
    """Sizes of the students."""
    millions = {name: encoder_parameters(model) / 1e6 for name, model in (("4", TINYBERT_4), ("6", TINYBERT_6))}
    share = 100 * whole_bytes(TINYBERT_4, MLM) / whole_bytes(BERT_BASE, MLM)
    counted = "printed: as transformers counts it, with a pooler"
    return [
        Row("sizes", "TinyBERT-4", "parameters", "million", 14.35, millions["4"], counted),
        Row("sizes", "TinyBERT-6", "parameters", "million", 66.96, millions["6"], counted),
        Row("sizes", "TinyBERT-4", "payload", "% of BERT-base", 13.13, share, "printed in FedBT's table 1; MLM head"),
    ]
