"""DistilBERT: Sanh et al. 2019, arXiv 1910.01108."""

from collections.abc import Sequence

from fedsim.papers.base import BERT_BASE, DISTILBERT, Row, encoder_parameters

TITLE = "DistilBERT, a distilled version of BERT: smaller, faster, cheaper and lighter (2019)"


def rows() -> Sequence[Row]:
    """Sizes of the student and its teacher."""
    student, teacher = encoder_parameters(DISTILBERT), encoder_parameters(BERT_BASE)
    counted = "printed: as transformers counts it"
    return [
        Row("sizes", "DistilBERT", "parameters", "parameters", 66_362_880, student, counted),
        Row("sizes", "BERT-base", "parameters", "parameters", 109_482_240, teacher, f"{counted}, with its pooler"),
        Row("abstract", "DistilBERT", "smaller than BERT-base by", "%", 40, 100 * (1 - student / teacher), "rounded"),
    ]
