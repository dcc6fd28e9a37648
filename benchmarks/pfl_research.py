"""A work in pfl-research (`pfl[pytorch]`); for an environment that has it.

    python -m benchmarks.pfl_research --work mlm --rounds 8
    torchrun --standalone --nproc-per-node 2 -m benchmarks.pfl_research --work mlm --rounds 8

pfl evaluates the first cohort before and after it is trained, whatever it is told, so its first round does more work.
"""
# The other systems are not installed where the types are checked.
# mypy: disable-error-code="import-not-found, misc, no-any-unimported"

import argparse
import logging
import os
from types import MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import workload
from benchmarks.meter import Meter
from benchmarks.workload import Workload


def simulate(work: Workload, rounds: int, meter: Meter) -> Any:
    """All rounds; returns the module with the final global weights."""
    from pfl.aggregate.simulate import SimulatedBackend
    from pfl.aggregate.weighting import WeightByDatapoints
    from pfl.algorithm import FederatedAveraging, NNAlgorithmParams
    from pfl.callback.base import TrainingProcessCallback
    from pfl.data.dataset import Dataset
    from pfl.data.federated_dataset import FederatedDataset
    from pfl.hyperparam import NNTrainHyperParams
    from pfl.metrics import Metrics, Weighted
    from pfl.model.pytorch import PyTorchModel

    def loss(module: Any, ids: Tensor, targets: Tensor) -> Tensor:
        module.train()
        return workload.loss(module, ids, targets)

    def metrics(module: Any, ids: Tensor, targets: Tensor) -> dict[str, Any]:
        return {"loss": Weighted(0.0, len(ids))}

    module, data = work.model(), workload.Data(work)
    module.loss, module.metrics = MethodType(loss, module), MethodType(metrics, module)
    model = PyTorchModel(
        module,
        local_optimizer_create=torch.optim.SGD,
        central_optimizer=torch.optim.SGD(module.parameters(), lr=1.0),
    )

    # pfl asks for a client at a time, and for a few more than it trains
    clients = (client for round_ in range(rounds + 50) for client in work.cohort(round_))
    dataset = FederatedDataset(
        lambda client: Dataset([data.ids[client], data.targets[client]], user_id=str(client)), lambda: next(clients)
    )

    class Marks(TrainingProcessCallback):
        def on_train_begin(self, *, model: Any) -> Any:
            meter.mark()
            return Metrics()

        def after_central_iteration(self, aggregate_metrics: Any, model: Any, *, central_iteration: int) -> Any:
            meter.mark()
            return False, Metrics()

    FederatedAveraging().run(
        algorithm_params=NNAlgorithmParams(
            central_num_iterations=rounds,
            evaluation_frequency=10**9,
            train_cohort_size=work.cohort_clients,
            val_cohort_size=0,
        ),
        backend=SimulatedBackend(training_data=dataset, val_data=None, postprocessors=[WeightByDatapoints()]),
        model=model,
        model_train_params=NNTrainHyperParams(
            local_num_epochs=1, local_learning_rate=workload.LEARNING_RATE, local_batch_size=work.batch_samples
        ),
        callbacks=[Marks()],
    )
    return module


def main() -> None:
    """Run and, in the first process, write down the times."""
    import pfl

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", choices=workload.WORKLOADS, required=True)
    parser.add_argument("--rounds", type=int, required=True)
    options = parser.parse_args()
    logging.disable(logging.INFO)
    torch.set_num_threads(1)
    # pfl draws from numpy's global generator; nothing that it draws matters here
    np.random.seed(0)  # noqa: NPY002
    meter = Meter()
    module = simulate(workload.WORKLOADS[options.work], options.rounds, meter)
    if int(os.environ.get("RANK", 0)) == 0:
        meter.finish(workload.flat(module).numpy(), pfl=pfl.__version__, torch=torch.__version__)


if __name__ == "__main__":
    main()
