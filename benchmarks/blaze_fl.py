"""A work in BlazeFL (`blazefl`, Python 3.12 or newer); for an environment that has it.

    python -m benchmarks.blaze_fl --work mlm --rounds 8

FedAvg of `blazefl.contrib` with two processes and weights in shared memory. BlazeFL asks for a module in every client
and forks its processes anew in every round; they are given the module that was built before the fork. A client's work
is `workload.train` in place of BlazeFL's, which knows no other loss than the cross-entropy of one output a sample.
"""
# The other systems are not installed where the types are checked.
# mypy: disable-error-code="import-not-found, misc, no-any-unimported"

import argparse
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import workload
from benchmarks.meter import Meter
from benchmarks.workload import Workload

PROCESSES = 2


@lru_cache(maxsize=1)
def data(name: str) -> workload.Data:
    """Of a process and those forked from it."""
    return workload.Data(workload.WORKLOADS[name])


class Loader:
    """The batches of a client."""

    dataset = None
    """Where BlazeFL would keep a client's samples."""

    def __init__(self, name: str, client: int) -> None:
        self._name, self._client = name, client

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return data(self._name).batches(self._client)


class Clients:
    """All data, by name: what BlazeFL sends to a process with every client."""

    def __init__(self, name: str) -> None:
        self._name = name

    def get_dataloader(self, type_: str, cid: int, batch_size: int, generator: Any) -> Loader:
        """Of one client; the batches are listed, so size and generator have nothing to say."""
        return Loader(self._name, cid)

    def set_dataset(self, type_: str, cid: int, dataset: None) -> None:
        """A client's samples stay what they are."""


class Selector:
    """Which module to train."""

    @lru_cache(maxsize=1)  # noqa: B019  (a process has one, and keeps it)
    def select_model(self, name: str) -> Any:
        """The same in every call."""
        return workload.WORKLOADS[name].model()

    def __reduce__(self) -> str:
        return "SELECTOR"


SELECTOR = Selector()


def simulate(work: Workload, rounds: int, folder: Path, meter: Meter) -> Any:
    """All rounds; returns the module with the final global weights."""
    import blazefl.contrib.fedavg as blaze
    from blazefl.core import IPCMode, deserialize_model, serialize_model

    class Server(blaze.FedAvgBaseServerHandler):
        def sample_clients(self) -> list[int]:
            return work.cohort(self.round)

    class Pool(blaze.FedAvgProcessPoolClientTrainer):
        def progress_fn(self, it: Any) -> Any:
            return it

    def train(model: Any, model_parameters: Tensor, train_loader: Loader, cid: int, **_: Any) -> Any:
        deserialize_model(model, model_parameters)
        samples = workload.train(model, iter(train_loader))
        return blaze.FedAvgProcessPoolUplinkPackage(cid, serialize_model(model), samples)

    # by name, as BlazeFL's worker calls it; the processes are forked and have it too
    blaze.FedAvgProcessPoolClientTrainer.train = staticmethod(train)
    clients = Clients(work.name)
    data(work.name)
    server = Server(SELECTOR, work.name, clients, rounds, work.clients, 1.0, "cpu", work.batch_samples, 0)
    server.num_clients_per_round = work.cohort_clients
    server.model = work.model()
    pool = Pool(
        model_selector=SELECTOR,
        model_name=work.name,
        share_dir=folder / "share",
        state_dir=folder / "state",
        dataset=clients,
        device="cpu",
        num_clients=work.clients,
        epochs=1,
        batch_size=work.batch_samples,
        lr=workload.LEARNING_RATE,
        seed=0,
        num_parallels=PROCESSES,
        ipc_mode=IPCMode.SHARED_MEMORY,
    )
    meter.mark()
    while not server.if_stop():
        pool.local_process(server.downlink_package(), server.sample_clients())
        for update in pool.uplink_package():
            server.load(update)
        meter.mark()
    return server.model


def main() -> None:
    """Run and write down the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", choices=workload.WORKLOADS, required=True)
    parser.add_argument("--rounds", type=int, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    meter = Meter()
    with tempfile.TemporaryDirectory(prefix="blazefl-") as folder:
        module = simulate(workload.WORKLOADS[options.work], options.rounds, Path(folder), meter)
    meter.finish(workload.flat(module).numpy(), blazefl=version("blazefl"), torch=torch.__version__)


if __name__ == "__main__":
    # by its own name, so that what is sent to the processes is found in a module
    from benchmarks import blaze_fl

    blaze_fl.main()
