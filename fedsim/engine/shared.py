"""Whether all nodes of a cluster see the folders that hosts read and write."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fedsim.errors import UserError

PATIENCE_S = 120.0
"""Time that a node has to answer, the start of a process on it included."""


def check(ray: Any, folders: Sequence[Path]) -> None:
    """Ask every node on which hosts may be, but this one, whether the folders there are the folders here.

    Raises:
        UserError: on some node they are not; names it and the folder.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = ray.get_runtime_context().get_node_id()
    nodes = [node for node in ray.nodes() if node["Alive"] and node["NodeID"] != here and node["Resources"].get("CPU")]
    if not nodes:
        return
    with _marked(folders) as marks:
        question = ray.remote(num_cpus=0, max_retries=0)(unseen)
        asked = {
            f"{node['NodeManagerAddress']} ({node['NodeID'][:6]})": question.options(
                name="hosts/shared storage",
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
            ).remote(marks)
            for node in nodes
        }
        for name, answer in asked.items():
            try:
                missing = ray.get(answer, timeout=PATIENCE_S)
            except ray.exceptions.RayError as error:
                cause = str(error).strip().splitlines()[-1]
                raise UserError(f"node {name} cannot run fedsim: {cause}", key="engine.address") from error
            if missing:
                raise UserError(
                    f"node {name} does not see this folder or cannot write to it. Hosts read samples and keep clients' "
                    "states in files: put runs (--out or outputs.folder) and the cache ($FEDSIM_CACHE) on storage that "
                    "all nodes have at the same path",
                    file=missing[0],
                )


def unseen(marks: Mapping[str, str]) -> list[str]:
    """Folders in which this process does not find the mark, or cannot write beside it.

    Args:
        marks: path of a file to what is in it.
    """
    return [str(Path(path).parent) for path, word in marks.items() if not _seen(Path(path), word)]


def _seen(path: Path, word: str) -> bool:
    try:
        if path.read_text(encoding="utf-8") != word:
            return False
        beside = path.with_name(f"{path.name}-{uuid.uuid4().hex[:8]}")
        beside.touch(exist_ok=False)
        beside.unlink()
    except OSError:
        return False
    return True


@contextmanager
def _marked(folders: Sequence[Path]) -> Iterator[dict[str, str]]:
    """Put a file with a word of its own into each folder, for as long as the block lasts."""
    marks = {folder.absolute() / f".seen-{uuid.uuid4().hex[:8]}": uuid.uuid4().hex for folder in folders}
    try:
        for path, word in marks.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(word, encoding="utf-8")
        yield {str(path): word for path, word in marks.items()}
    finally:
        for path in marks:
            path.unlink(missing_ok=True)
