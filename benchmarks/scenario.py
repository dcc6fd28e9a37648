"""W3 as a scenario of fedsim: a YAML file beside its Parquet data and its checkpoint."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml

from benchmarks import workload

Positions = Literal["all", "masked"]
METHOD = "fedavg"


def write(folder: Path, rounds: int, positions: Positions = "all") -> Path:
    """Fill a folder with all that the scenario needs; returns its YAML file."""
    folder.mkdir(parents=True, exist_ok=True)
    ids, targets = workload.data()
    clients = np.repeat([f"client-{client:03d}" for client in range(workload.CLIENTS)], workload.SAMPLES)
    shape = (-1, workload.TOKENS)
    _parquet(folder / "train.parquet", clients, ids.reshape(shape), targets.reshape(shape))
    # held-out text must be there although nothing is evaluated: without it, samples of the clients would be held out
    _parquet(folder / "test.parquet", clients[:1], ids.reshape(shape)[:1], targets.reshape(shape)[:1])
    workload.model().save_pretrained(folder / "checkpoint")
    file = folder / f"w3-{positions}.yaml"
    file.write_text(yaml.safe_dump(_scenario(rounds, positions), sort_keys=False), encoding="utf-8")
    return file


def _parquet(file: Path, clients: np.typing.NDArray[np.str_], ids: workload.Ints, targets: workload.Ints) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"client": clients.tolist(), "input_ids": ids.tolist(), "labels": targets.tolist()}
    pq.write_table(pa.table(columns), file)


def _scenario(rounds: int, positions: Positions) -> dict[str, Any]:
    return {
        "name": f"w3-{positions}",
        "data": {
            "corpus": {"kind": "files", "train": ["train.parquet"], "test": ["test.parquet"], "tokenised": True},
            "partition": {"kind": "natural", "min_samples": workload.SAMPLES},
            "max_tokens": workload.TOKENS,
        },
        "model": {"checkpoint": "checkpoint", "mlm_positions": positions},
        "fleet": {
            "clients": workload.CLIENTS,
            "source": {"kind": "catalog", "devices": {"server_gpu": 1.0}, "networks": {"datacenter": 1.0}},
        },
        "phases": {
            "further_pretrain": {
                "rounds": rounds,
                "participation": {
                    "clients_per_round": workload.COHORT,
                    "cohorts": [workload.cohort(round_) for round_ in range(rounds)],
                },
                "local": {
                    "batch_samples": workload.BATCH,
                    "order": "fixed",
                    "optimizer": {"kind": "sgd", "learning_rate": workload.LEARNING_RATE},
                },
            },
            "evaluate": None,
        },
        "methods": {METHOD: {}},
        # the trace is kept in memory till the end: what a user's run writes every round is not part of this comparison
        "outputs": {"checkpoint_every_rounds": rounds},
    }


def weights(run: Path) -> workload.Floats:
    """The final global model of a run, as one vector."""
    from transformers import BertForMaskedLM

    module = BertForMaskedLM.from_pretrained(run / "models" / METHOD)
    result: workload.Floats = workload.flat(module).numpy()
    return result


def round_ends(run: Path) -> Iterator[float]:
    """When each round ended, in seconds since 1970."""
    from fedsim import read_run

    events = read_run(run).events
    yield from events.loc[events["kind"] == "round"].sort_values("round")["wall_s"].tolist()
