"""Counting what a model gets right, in sums that add up over chunks."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from fedsim.data.work import IntArray
from fedsim.model.local import Batch, LocalModel
from fedsim.training.metrics import bio_spans


def count(model: LocalModel, batches: Iterable[Batch]) -> tuple[dict[str, float], IntArray | None]:
    """Loss and hits summed over batches; for a sequence classifier also the confusion matrix [true, predicted]."""
    kind, classes = model.shape.head.kind, model.shape.head.classes
    values = dict.fromkeys(("loss", "targets", "correct"), 0.0)
    confusion = np.zeros((classes, classes), np.int64) if model.shape.head.per_sample else None
    spans = dict.fromkeys(("spans_true", "spans_predicted", "spans_correct"), 0.0)
    model.module.eval()
    with torch.no_grad():
        for batch in batches:
            logits = model.logits(batch).float()
            loss = functional.cross_entropy(logits, batch.targets, reduction="none")
            predicted, wanted = logits.argmax(-1).cpu().numpy(), batch.targets.cpu().numpy()
            real = wanted >= 0
            values["loss"] += float(loss.to(torch.float64).sum())
            values["targets"] += int(real.sum())
            values["correct"] += int((predicted[real] == wanted[real]).sum())
            if confusion is not None:
                np.add.at(confusion, (wanted, predicted), 1)
            if kind == "tokens":
                _count_spans(spans, wanted.reshape(batch.ids.shape), predicted.reshape(batch.ids.shape))
    return values | (spans if kind == "tokens" else {}), confusion


def _count_spans(spans: dict[str, float], wanted: npt.NDArray[np.integer], predicted: npt.NDArray[np.integer]) -> None:
    for true_row, guess_row in zip(wanted, predicted, strict=True):
        real = true_row >= 0
        true, guess = set(bio_spans(true_row[real])), set(bio_spans(guess_row[real]))
        spans["spans_true"] += len(true)
        spans["spans_predicted"] += len(guess)
        spans["spans_correct"] += len(true & guess)
