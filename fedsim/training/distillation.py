"""The losses that compare a student with its teacher, and a student's loss made of them.

Every mean is over attended tokens alone, so that a loss does not depend on how far a batch is padded. The published
code of TinyBERT counts padded positions in its means of states and scores.
"""

import torch
from torch import Tensor
from torch.nn import functional

from fedsim.model.distillation import Distillation
from fedsim.model.inside import Inside, inside
from fedsim.model.local import Batch, LocalModel

_MASKED = -1e4
"""A score whose share after the softmax is exactly 0, and finite under subtraction."""


def soft_kl(student: Tensor, teacher: Tensor, rows: Tensor | None, temperature: float) -> Tensor:
    """T^2 * KL(teacher, student) of [P, classes] logits, mean over rows (DistilBERT, section 2; Hinton et al. 2015).

    Args:
        student: logits.
        teacher: logits.
        rows: [P] bool, those that count; None: all.
        temperature: T, divides both logits.
    """
    wanted = functional.log_softmax(teacher / temperature, -1)
    given = functional.log_softmax(student / temperature, -1)
    return _mean((wanted.exp() * (wanted - given)).sum(-1), rows) * temperature**2


def soft_cross_entropy(student: Tensor, teacher: Tensor, rows: Tensor | None, temperature: float) -> Tensor:
    """Cross-entropy of [P, classes] logits under the teacher's distribution, mean over rows (TinyBERT, L_pred)."""
    wanted = functional.softmax(teacher / temperature, -1)
    return _mean(-(wanted * functional.log_softmax(student / temperature, -1)).sum(-1), rows)


def cosine(student: Tensor, teacher: Tensor, real: Tensor | None) -> Tensor:
    """1 - cos of [B, L, hidden] states, mean over real tokens (DistilBERT, section 2)."""
    return _mean(1.0 - functional.cosine_similarity(student, teacher, dim=-1), real)


def states_mse(student: Tensor, teacher: Tensor, real: Tensor | None) -> Tensor:
    """Squared error of [B, L, hidden] states, mean over real tokens and width (TinyBERT, L_hidn, L_embd)."""
    return _mean((student - teacher).square().mean(-1), real)


def scores_mse(student: Tensor, teacher: Tensor, real: Tensor | None) -> Tensor:
    """Squared error of [B, heads, L, L] raw scores, mean over heads and pairs of real tokens (TinyBERT, L_attn)."""
    pairs = None if real is None else real[:, :, None] & real[:, None, :]
    return _mean((student - teacher).square().mean(1), pairs)


def probabilities_kl(student: Tensor, teacher: Tensor, real: Tensor | None) -> Tensor:
    """KL(teacher, student) of the attention over real keys, mean over heads and real queries."""
    if real is not None:
        hidden = ~real[:, None, None, :]
        student, teacher = student.masked_fill(hidden, _MASKED), teacher.masked_fill(hidden, _MASKED)
    wanted, given = functional.log_softmax(teacher, -1), functional.log_softmax(student, -1)
    return _mean((wanted.exp() * (wanted - given)).sum(-1).mean(1), real)


class Taught:
    """A student with its teacher beside it."""

    def __init__(self, student: LocalModel, teacher: LocalModel) -> None:
        if student.shape.distillation is None:
            raise ValueError("this local model does not learn from a teacher")
        self.distillation: Distillation = student.shape.distillation
        self.student, self.teacher = student, teacher
        self.module = student.module
        teacher.module.eval()

    def loss(self, batch: Batch) -> Tensor:
        """The weighted sum of the terms; only the student's parameters have a gradient."""
        return torch.stack([weight * term for weight, term in self.terms(batch).values()]).sum()

    def terms(self, batch: Batch) -> dict[str, tuple[float, Tensor]]:
        """Weight and value of every term, by name."""
        d, depth = self.distillation, self.student.shape.depth
        compared = range(depth) if d.transfers_attention else ()
        own = inside(self.student, batch, depth=depth, scores=compared, logits=d.logits)
        with torch.no_grad():
            imitated = [d.layer_map[place] - 1 for place in compared]
            its = inside(self.teacher, batch, depth=d.teacher_depth, scores=imitated, logits=d.teacher_logits)
        found: dict[str, tuple[float, Tensor]] = {}
        if own.logits is not None and d.hard_labels > 0:
            hard = functional.cross_entropy(own.logits.float(), batch.targets)
            found["hard_labels"] = (d.hard_labels, hard)
        if own.logits is not None and its.logits is not None:
            soft = soft_kl if d.soft_loss == "kl" else soft_cross_entropy
            value = soft(own.logits.float(), its.logits.float(), self._rows(batch), d.temperature)
            found["soft_labels"] = (d.soft_labels, value)
        if d.cosine > 0:
            found["cosine"] = (d.cosine, cosine(own.states[-1].float(), its.states[-1].float(), batch.real))
        return found | self._layers(own, its, batch.real)

    def _layers(self, own: Inside, its: Inside, real: Tensor | None) -> dict[str, tuple[float, Tensor]]:
        """What is compared layer by layer (TinyBERT, L_model), and the embeddings."""
        d = self.distillation
        found: dict[str, tuple[float, Tensor]] = {}
        if d.embeddings > 0:
            found["embeddings"] = (
                d.embeddings,
                states_mse(self._projected(own.states[0]), its.states[0].float(), real),
            )
        for place, (target, weight) in enumerate(zip(d.layer_map, d.layer_weights, strict=True)):
            if d.transfers_attention:
                distance = scores_mse if d.attention == "scores_mse" else probabilities_kl
                value = distance(own.scores[place].float(), its.scores[target - 1].float(), real)
                found[f"attention.{place}"] = (weight, value)
            if d.hidden > 0:
                value = states_mse(self._projected(own.states[place + 1]), its.states[target].float(), real)
                found[f"hidden.{place}"] = (d.hidden * weight, value)
        return found

    def _projected(self, states: Tensor) -> Tensor:
        """One projection for the embeddings and every layer, as in TinyBERT's code."""
        projected: Tensor = self.student.projection(states)
        return projected.float()

    def _rows(self, batch: Batch) -> Tensor | None:
        """Rows of the logits whose soft labels count, [P] bool; None: all."""
        if self.distillation.masked_only:
            return batch.targets >= 0
        if batch.real is None or self.student.shape.head.per_sample:
            return None
        real = batch.real.flatten()
        return real if batch.positions is None else real[batch.positions]


def _mean(values: Tensor, counted: Tensor | None) -> Tensor:
    """Mean of the values that count; a product, not a choice, so that shapes do not depend on the data."""
    if counted is None:
        return values.mean()
    weights = counted.to(values.dtype)
    return (values * weights).sum() / weights.sum()
