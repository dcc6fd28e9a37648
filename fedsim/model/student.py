"""A student that starts from its teacher's weights."""

import numpy as np

from fedsim.model.architecture import Architecture, Head
from fedsim.model.layout import FloatArray, Groups, embeddings_layout, head_layout, layer_layout
from fedsim.plan import EMBEDDINGS, HEAD, Slot, layer


def skipped(student: int, teacher: int) -> tuple[int, ...]:
    """The teacher's layers that a student of `student` layers starts from: evenly spread, both ends among them.

    Of 12 layers 6 give 0, 2, 4, 7, 9, 11, which is what DistilBERT's `extract_distilbert.py` takes.
    """
    if student == 1:
        return (0,)
    gaps, steps = teacher - 1, student - 1
    return tuple((2 * place * gaps + steps) // (2 * steps) for place in range(student))


def averaged(student: int, teacher: int) -> tuple[tuple[int, ...], ...]:
    """Runs of neighbouring layers of the teacher, one for every layer of the student."""
    runs = np.array_split(np.arange(teacher), student)
    return tuple(tuple(int(place) for place in run) for run in runs)


def copied(
    groups: Groups,
    teacher: Architecture,
    student: Architecture,
    slots: tuple[Slot, ...],
    fresh: Groups,
    transform: bool,
) -> dict[str, FloatArray]:
    """The student's groups, with an MLM head.

    A layer's vector has the same order in both families, so that a layer of BERT is one of DistilBERT.

    Args:
        groups: the teacher's, with an MLM head.
        teacher: its sizes; but for depth and family those of the student.
        student: sizes of the student.
        slots: the teacher's layer for every layer of the student, or several whose mean is taken.
        fresh: the student's groups as they are without a teacher: for what the teacher does not have.
        transform: take the head's transform over as well, and not only the decoder's bias.
    """
    found = dict(fresh)
    theirs = embeddings_layout(teacher).split(groups[EMBEDDINGS])
    own = embeddings_layout(student)
    found[EMBEDDINGS] = own.join({**own.split(fresh[EMBEDDINGS]), **_common(theirs, dict(own.tensors))})
    for place, slot in enumerate(slots):
        taken = [groups[layer(i)] for i in (slot if isinstance(slot, tuple) else (slot,))]
        if taken[0].size != layer_layout(student, place).size:
            raise ValueError("the student's layers have other sizes than its teacher's")
        found[layer(place)] = np.mean(taken, axis=0, dtype=np.float32) if len(taken) > 1 else np.array(taken[0])
    layout = head_layout(student, Head("mlm"))
    parts = layout.split(groups[HEAD])
    kept = parts if transform else {"bias": parts["bias"]}
    found[HEAD] = layout.join({**layout.split(fresh[HEAD]), **kept})
    return found


def _common(theirs: dict[str, FloatArray], own: dict[str, tuple[int, ...]]) -> dict[str, FloatArray]:
    return {name: values for name, values in theirs.items() if name in own}
