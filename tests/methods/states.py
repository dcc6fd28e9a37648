"""What a run left behind: the newest checkpoint of a method."""

from pathlib import Path

import numpy as np

from fedsim.model.layout import FloatArray
from fedsim.store import checkpoint


def arrays(out: Path, method: str, kind: str) -> dict[str, FloatArray]:
    """Arrays of the last checkpoint whose name starts with `kind/`: `group`, `server`."""
    state = checkpoint.load_latest(out / "checkpoints" / method)
    assert state is not None
    found = {n.removeprefix(f"{kind}/"): np.array(a) for n, a in state.arrays.items() if n.startswith(f"{kind}/")}
    return dict(sorted(found.items()))
