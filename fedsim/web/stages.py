"""Which groups of the global model are trained in which rounds."""

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from fedsim.methods.student import Student
from fedsim.web.curves import pieces, spans
from fedsim.web.follow import Followed

COLUMNS = 320
"""The most pieces of a timeline."""
_LAYER = re.compile(r"layer\.(\d+)")


def timeline(run: Followed, method: str, most: int = COLUMNS) -> dict[str, Any]:
    """Rounds, or pieces of consecutive ones, against groups.

    Returns:
        `groups` from the bottom up; `first` and `last` round of each piece; `share` by group: of each piece's rounds,
        those that changed the group; `phase` and `stage` in words of each piece's first round.
    """
    rounds = run.table(method, "rounds")
    starts = pieces(len(rounds), most)
    changed = [frozenset(text.split()) for text in rounds["trained_groups"].to_pylist()]
    groups = ordered({*_whole(run, method), *(group for groups in changed for group in groups)})
    lengths = np.diff(np.append(starts, len(rounds)))
    share = []
    for group in groups:
        counts = np.add.reduceat(np.array([group in of for of in changed], np.int64), starts) if len(starts) else starts
        share.append(np.round(counts / lengths, 3).tolist())
    words = _words(run.table(method, "stages"))
    keys = list(zip(rounds["phase"].to_pylist(), rounds["stage"].to_pylist(), strict=True))
    firsts = [keys[start] for start in starts.tolist()]
    return {
        "groups": groups,
        **spans(rounds, starts),
        "share": share,
        "phase": [phase for phase, _ in firsts],
        "stage": [words.get(key, "") for key in firsts],
    }


def ordered(groups: Iterable[str]) -> list[str]:
    """Groups as they stand in a model, from the bottom up; what is beside the layers comes last."""

    def place(name: str) -> tuple[int, int, str]:
        layer = _LAYER.fullmatch(name)
        if layer:
            return 1, int(layer[1]), name
        return {"embeddings": 0, "head": 2}.get(name, 3), 0, name

    return sorted(groups, key=place)


def _whole(run: Followed, method: str) -> list[str]:
    """The groups that the method's model has in any case, trained or not; a student's depth is its own."""
    model, own = run.scenario.model, run.scenario.methods[method]
    known = model.checkpoint is None and own.model is None and not isinstance(own, Student)
    return ["embeddings", *(f"layer.{i}" for i in range(sum(model.depth) if known else 0)), "head"]


def _words(stages: pa.Table) -> dict[tuple[str, int], str]:
    """What every stage trains; its plans one after the other where they differ."""
    found: dict[tuple[str, int], list[str]] = {}
    for row in stages.select(["phase", "stage", "trained"]).to_pylist():
        own = found.setdefault((row["phase"], row["stage"]), [])
        if row["trained"] not in own:
            own.append(row["trained"])
    return {key: "; ".join(words) for key, words in found.items()}
