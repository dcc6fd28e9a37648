"""A work as a scenario of fedsim: a YAML file beside its Parquet data and its checkpoint."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml

from benchmarks import workload
from benchmarks.workload import Workload

Positions = Literal["all", "needed"]
METHOD = "fedavg"
LABEL = "label"


def write(work: Workload, folder: Path, rounds: int, positions: Positions = "all") -> Path:
    """Fill a folder with all that the scenario needs; returns its YAML file.

    Args:
        work: what is trained.
        folder: is made.
        rounds: of the scenario.
        positions: where logits and the last layer are computed: everywhere, or where an answer needs them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ids, targets = work.data()
    clients = np.repeat([f"client-{client:06d}" for client in range(work.clients)], work.samples)
    ids, targets = (whole.reshape(len(clients), *whole.shape[2:]) for whole in (ids, targets))
    _parquet(work, folder / "train.parquet", clients, ids, targets)
    # held-out text must be there although nothing is evaluated: without it, samples of the clients would be held out
    _parquet(work, folder / "test.parquet", clients[:1], ids[:1], targets[:1])
    work.model().save_pretrained(folder / "checkpoint")
    file = folder / f"{work.name}-{positions}.yaml"
    file.write_text(yaml.safe_dump(_scenario(work, rounds, positions), sort_keys=False), encoding="utf-8")
    return file


def _parquet(
    work: Workload, file: Path, clients: np.typing.NDArray[np.str_], ids: workload.Ints, targets: workload.Ints
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"client": clients.tolist(), "input_ids": ids.tolist()}
    if work.task == "mlm":
        columns["labels"] = targets.tolist()
    else:
        columns[LABEL] = targets.astype(str).tolist()
    pq.write_table(pa.table(columns), file)


def _scenario(work: Workload, rounds: int, positions: Positions) -> dict[str, Any]:
    corpus = {"kind": "files", "train": ["train.parquet"], "test": ["test.parquet"], "tokenised": True}
    federated: dict[str, Any] = {
        "rounds": rounds,
        "participation": {
            "clients_per_round": work.cohort_clients,
            "cohorts": [work.cohort(round_) for round_ in range(rounds)],
        },
        "local": {
            "batch_samples": work.batch_samples,
            "order": "fixed",
            "optimizer": {"kind": "sgd", "learning_rate": workload.LEARNING_RATE},
        },
    }
    model = {"checkpoint": "checkpoint", "last_layer": positions}
    if work.task == "mlm":
        phase, model["mlm_positions"] = "further_pretrain", "all" if positions == "all" else "masked"
    else:
        phase = "finetune"
        corpus["labels"] = [LABEL]
        federated["task"] = {"kind": "sequence", "label": LABEL}
    return {
        "name": f"{work.name}-{positions}",
        "data": {
            "corpus": corpus,
            "partition": {"kind": "natural", "min_samples": work.samples},
            "max_tokens": work.tokens,
        },
        "model": model,
        "fleet": {
            "clients": work.clients,
            "source": {"kind": "catalog", "devices": {"server_gpu": 1.0}, "networks": {"datacenter": 1.0}},
        },
        "phases": {phase: federated, "evaluate": None},
        "methods": {METHOD: {}},
        # the trace is kept in memory till the end: what a user's run writes every round is not part of this comparison
        "outputs": {"checkpoint_every_rounds": rounds},
    }


def weights(work: Workload, run: Path) -> workload.Floats:
    """The final global model of a run, as one vector."""
    module = type(work.model()).from_pretrained(run / "models" / METHOD)
    result: workload.Floats = workload.flat(module).numpy()
    return result


def round_ends(run: Path) -> Iterator[float]:
    """When each round ended, in seconds since 1970."""
    from fedsim import read_run

    events = read_run(run).events
    yield from events.loc[events["kind"] == "round"].sort_values("round")["wall_s"].tolist()
