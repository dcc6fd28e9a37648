"""Counting what a model gets right, in sums that add up over chunks."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from fedsim.data.work import IntArray
from fedsim.model.local import Batch, LocalModel
from fedsim.training.metrics import bio_spans

Found = tuple[dict[str, float], IntArray | None]
"""Sums, and for a sequence classifier the confusion matrix [true, predicted]."""


def count(model: LocalModel, batches: Iterable[Batch]) -> Found:
    """Loss and hits of the head on top, summed over batches; for a sequence classifier also the confusion matrix."""
    tally = _Tally(model)
    model.module.eval()
    with torch.no_grad():
        for batch in batches:
            tally.add(model.logits(batch).float(), batch)
    return tally.found


def count_exits(model: LocalModel, batches: Iterable[Batch]) -> dict[str, Found]:
    """The same for every head of a model that has several: `depth_2` ..., and their `ensemble`.

    The ensemble answers with the mean of all heads' logits, those of the one on top included.
    """
    depths = (*model.shape.exits, model.shape.depth)
    tallies = {f"depth_{depth}": _Tally(model) for depth in depths} | {"ensemble": _Tally(model)}
    model.module.eval()
    with torch.no_grad():
        for batch in batches:
            logits = [own.float() for own in model.exit_logits(batch)]
            for tally, own in zip(tallies.values(), [*logits, torch.stack(logits).mean(0)], strict=True):
                tally.add(own, batch)
    return {name: tally.found for name, tally in tallies.items()}


class _Tally:
    """What one head gets right."""

    def __init__(self, model: LocalModel) -> None:
        head = model.shape.head
        self._values = dict.fromkeys(("loss", "targets", "correct"), 0.0)
        self._confusion = np.zeros((head.classes, head.classes), np.int64) if head.per_sample else None
        names = ("spans_true", "spans_predicted", "spans_correct") if head.kind == "tokens" else ()
        self._spans = dict.fromkeys(names, 0.0)

    @property
    def found(self) -> Found:
        return self._values | self._spans, self._confusion

    def add(self, logits: Tensor, batch: Batch) -> None:
        """Count a batch."""
        values = self._values
        loss = functional.cross_entropy(logits, batch.targets, reduction="none")
        predicted, wanted = logits.argmax(-1).cpu().numpy(), batch.targets.cpu().numpy()
        real = wanted >= 0
        values["loss"] += float(loss.to(torch.float64).sum())
        values["targets"] += int(real.sum())
        values["correct"] += int((predicted[real] == wanted[real]).sum())
        if self._confusion is not None:
            np.add.at(self._confusion, (wanted, predicted), 1)
        if self._spans:
            _count_spans(self._spans, wanted.reshape(batch.ids.shape), predicted.reshape(batch.ids.shape))


def _count_spans(spans: dict[str, float], wanted: npt.NDArray[np.integer], predicted: npt.NDArray[np.integer]) -> None:
    for true_row, guess_row in zip(wanted, predicted, strict=True):
        real = true_row >= 0
        true, guess = set(bio_spans(true_row[real])), set(bio_spans(guess_row[real]))
        spans["spans_true"] += len(true)
        spans["spans_predicted"] += len(guess)
        spans["spans_correct"] += len(true & guess)
