"""A work in Flower's simulation (`flwr[simulation]`, which runs clients in Ray actors); for an environment that has it.

    python -m benchmarks.flower --work mlm --rounds 8

FedAvg of the current Message API, one CPU a client, hence as many actors as processors. Clients keep their module
from one call to the next: to build it anew in every call, as Flower's quickstart does, is slower still.
"""
# The other systems are not installed where the types are checked.
# mypy: disable-error-code="import-not-found, misc, no-any-unimported, untyped-decorator"

import argparse
import logging
import os
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

# before Ray and Flower are imported, which read them once
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import torch

from benchmarks import workload
from benchmarks.meter import Meter
from benchmarks.workload import Workload

HOSTS = 2


@lru_cache(maxsize=1)
def client(name: str) -> tuple[workload.Data, Any]:
    """The data and the module of a worker process."""
    work = workload.WORKLOADS[name]
    return workload.Data(work), work.model()


def client_app(work: Workload) -> Any:
    """A client that trains on the data of the client it is told to be."""
    from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
    from flwr.clientapp import ClientApp

    app = ClientApp()

    @app.train()
    def train(message: Any, context: Any) -> Any:
        data, module = client(work.name)
        module.load_state_dict(message.content["arrays"].to_torch_state_dict())
        samples = workload.train(module, data.batches(int(message.content["config"]["client"])))
        content = {"arrays": ArrayRecord(module.state_dict()), "metrics": MetricRecord({"num-examples": samples})}
        return Message(content=RecordDict(content), reply_to=message)

    return app


def simulate(work: Workload, rounds: int, meter: Meter) -> dict[str, torch.Tensor]:
    """All rounds; returns the final global weights as a state dict."""
    from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, RecordDict
    from flwr.serverapp import ServerApp
    from flwr.serverapp.strategy import FedAvg
    from flwr.serverapp.strategy.strategy_utils import sample_nodes
    from flwr.simulation import run_simulation

    class ListedCohorts(FedAvg):
        """FedAvg whose sampled nodes are told whose data to use."""

        def configure_train(self, server_round: int, arrays: Any, config: Any, grid: Any) -> Iterable[Any]:
            if server_round == 1:
                meter.mark()
            nodes, _ = sample_nodes(grid, work.clients, work.cohort_clients)
            for node, number in zip(nodes, work.cohort(server_round - 1), strict=True):
                settings = ConfigRecord({"client": number, "server-round": server_round})
                content = RecordDict({"arrays": arrays, "config": settings})
                yield Message(content=content, message_type=MessageType.TRAIN, dst_node_id=node)

        def aggregate_train(self, server_round: int, replies: Any) -> Any:
            result = super().aggregate_train(server_round, replies)
            meter.mark()
            return result

    server, final = ServerApp(), {}

    @server.main()
    def main(grid: Any, context: Any) -> None:
        strategy = ListedCohorts(fraction_evaluate=0.0, min_available_nodes=work.clients)
        first = ArrayRecord(work.model().state_dict())
        result = strategy.start(grid=grid, initial_arrays=first, num_rounds=rounds)
        final.update(result.arrays.to_torch_state_dict())

    run_simulation(
        server_app=server,
        client_app=client_app(work),
        num_supernodes=work.clients,
        backend_config={
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
            "init_args": {"num_cpus": HOSTS},
        },
    )
    return final


def main() -> None:
    """Run and write down the times."""
    import flwr
    import ray

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", choices=workload.WORKLOADS, required=True)
    parser.add_argument("--rounds", type=int, required=True)
    options = parser.parse_args()
    logging.getLogger("flwr").setLevel(logging.WARNING)
    torch.set_num_threads(1)
    work, meter = workload.WORKLOADS[options.work], Meter()
    module = work.model()
    module.load_state_dict(simulate(work, options.rounds, meter))
    meter.finish(workload.flat(module).numpy(), flwr=flwr.__version__, ray=ray.__version__, torch=torch.__version__)


if __name__ == "__main__":
    # by its own name, so that Ray finds the client's functions in a module that workers can import
    from benchmarks import flower

    flower.main()
