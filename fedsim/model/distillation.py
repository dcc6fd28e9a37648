"""What a student learns from a frozen teacher: which of their numbers are compared, and with what weight.

DistilBERT: Sanh et al. 2019 (arXiv 1910.01108), section 2. TinyBERT: Jiao et al. 2020 (arXiv 1909.10351).
"""

from dataclasses import dataclass
from typing import Literal

from fedsim.model.architecture import Architecture

MapKind = Literal["uniform", "top", "bottom"]


@dataclass(frozen=True)
class Distillation:
    """A teacher and the terms of a student's loss. A weight of 0 leaves a term out, and costs nothing."""

    teacher: Architecture
    layer_map: tuple[int, ...] = ()
    """g: for every layer of the student the layer of the teacher that it imitates; 1 is the lowest."""
    layer_weights: tuple[float, ...] = ()
    """lambda: weight of the attention and hidden states of every layer of the student."""
    hard_labels: float = 0.0
    """Cross-entropy with what is predicted: masked tokens, or labels."""
    soft_labels: float = 0.0
    """Distance from the teacher's output."""
    soft_loss: Literal["kl", "cross_entropy"] = "kl"
    """`kl`: T^2 * KL(teacher, student); `cross_entropy`: of the student under the teacher's distribution."""
    temperature: float = 1.0
    masked_only: bool = False
    """Soft labels at the predicted positions alone, not at every attended one."""
    cosine: float = 0.0
    """1 - cos of the last hidden states."""
    attention: Literal["scores_mse", "probs_kl", "off"] = "off"
    """Distance between attention matrices: scores before the softmax, or the distributions after it."""
    hidden: float = 0.0
    """Squared error of the projected hidden states."""
    embeddings: float = 0.0
    """Squared error of the projected embeddings."""

    @property
    def logits(self) -> bool:
        """The student's head takes part."""
        return self.hard_labels > 0 or self.soft_labels > 0

    @property
    def teacher_logits(self) -> bool:
        """The teacher's head takes part."""
        return self.soft_labels > 0

    @property
    def transfers_attention(self) -> bool:
        """Attention matrices are compared."""
        return self.attention != "off"

    @property
    def projection(self) -> bool:
        """The student's states go through a trained projection before they are compared."""
        return self.hidden > 0 or self.embeddings > 0

    @property
    def teacher_depth(self) -> int:
        """Layers of the teacher that are computed: those below the highest one that is looked at."""
        if self.teacher_logits or self.cosine > 0:
            return self.teacher.layers
        return max(self.layer_map) if self.transfers_attention or self.hidden > 0 else 0


def layer_map(kind: MapKind, student: int, teacher: int) -> tuple[int, ...]:
    """g(m) for m = 1 ... `student` (TinyBERT's mapping functions).

    `uniform`: g(m) = m * teacher / student; `top`: the teacher's last layers; `bottom`: its first ones.

    Raises:
        ValueError: the student is deeper than the teacher, or its depth does not divide the teacher's (`uniform`).
    """
    if student > teacher:
        raise ValueError(f"the student has {student} layers, its teacher only {teacher}")
    if kind == "top":
        return tuple(range(teacher - student + 1, teacher + 1))
    if kind == "bottom":
        return tuple(range(1, student + 1))
    if teacher % student:
        raise ValueError(f"a uniform map needs a divisor of the teacher's {teacher} layers, the student has {student}")
    return tuple(m * teacher // student for m in range(1, student + 1))
