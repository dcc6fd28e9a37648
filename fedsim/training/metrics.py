"""Quality in numbers, from sums that were counted anywhere."""

from collections.abc import Iterator, Mapping
from math import exp

import numpy as np
import numpy.typing as npt

from fedsim.data.work import IntArray


def metrics(kind: str, values: Mapping[str, float], confusion: IntArray | None) -> dict[str, float]:
    """Metrics from the sums of all chunks: loss and perplexity, accuracy and macro F1, or span F1.

    Args:
        kind: of the objective.
        values: sums of `fedsim.training.evaluate.count`.
        confusion: [true, predicted]; None: no F1 of a sequence classifier.
    """
    targets = max(values["targets"], 1.0)
    loss, accuracy = values["loss"] / targets, values["correct"] / targets
    if kind == "mlm":
        return {"mlm_loss": loss, "mlm_accuracy": accuracy, "perplexity": exp(min(loss, 700.0))}
    if confusion is not None:
        hits = np.diag(confusion).astype(np.float64)
        present = confusion.sum(1) > 0
        f1 = 2 * hits / np.maximum(confusion.sum(0) + confusion.sum(1), 1)
        return {"loss": loss, "accuracy": accuracy, "macro_f1": float(f1[present].mean())}
    if kind == "sequence":
        return {"loss": loss, "accuracy": accuracy}
    precision = values["spans_correct"] / max(values["spans_predicted"], 1.0)
    recall = values["spans_correct"] / max(values["spans_true"], 1.0)
    f1_score = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return {"loss": loss, "accuracy": accuracy, "precision": precision, "recall": recall, "span_f1": f1_score}


def bio_spans(tags: npt.NDArray[np.integer]) -> Iterator[tuple[int, int, int]]:
    """Spans (start, stop, type) of a BIO sequence: 0 is O, 1 + 2k is B, 2 + 2k is I of type k.

    An I of another type than the span it follows starts a span, as in the CoNLL-2000 evaluation.
    """
    start, current = -1, -1
    for place, tag in enumerate(tags):
        kind = (int(tag) - 1) // 2 if tag > 0 else -1
        if current >= 0 and (kind != current or tag % 2 == 1):
            yield start, place, current
            current = -1
        if kind >= 0 and current < 0:
            start, current = place, kind
    if current >= 0:
        yield start, len(tags), current
