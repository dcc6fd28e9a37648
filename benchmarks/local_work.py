"""What a process does for its share of a cohort in plain torch: three ways, with the same result.

A share takes the global weights, some clients, and a sum to add the clients' weighted weights to; it returns their
samples.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks.workload import IGNORED, LEARNING_RATE, Data, Workload, flat, loss, split, train

Share = Callable[[Tensor, Sequence[int], Tensor], int]
"""(global weights, clients, sum to add weighted weights to) -> samples."""
Loss = Callable[[Any, Tensor, Tensor], Tensor]
"""(module, ids, targets) -> mean loss."""


def plain(work: Workload) -> Share:
    """One client after the other with `torch.optim.SGD`."""
    data, module = Data(work), work.model()

    def share(weights: Tensor, clients: Sequence[int], total: Tensor) -> int:
        samples = 0
        for client in clients:
            with torch.no_grad():
                for parameter, value in zip(module.parameters(), split(weights, module), strict=True):
                    parameter.copy_(value)
            count = train(module, data.batches(client))
            with torch.no_grad():
                for parameter, place in zip(module.parameters(), split(total, module), strict=True):
                    place.add_(parameter, alpha=count)
            samples += count
        return samples

    return share


def flat_buffers(work: Workload, of: Loss = loss) -> Share:
    """One client after the other, parameters and gradients in one buffer each, SGD written out.

    Loading a model, a step and summing up are one operation each.
    """
    data, module = Data(work), work.model()
    buffer = flat(module)
    grad = torch.zeros_like(buffer)
    places = zip(module.parameters(), split(buffer, module), split(grad, module), strict=True)
    for parameter, value, slope in places:
        parameter.data, parameter.grad = value, slope
    module.train()

    def share(weights: Tensor, clients: Sequence[int], total: Tensor) -> int:
        samples = 0
        for client in clients:
            buffer.copy_(weights)
            count = 0
            for ids, targets in data.batches(client):
                grad.zero_()
                of(module, ids, targets).backward()  # type: ignore[no-untyped-call]
                buffer.sub_(grad, alpha=LEARNING_RATE)
                count += len(ids)
            total.add_(buffer, alpha=float(count))
            samples += count
        return samples

    return share


def masked_head(work: Workload) -> Share:
    """As `flat_buffers`, but the logits of masked-language modelling are computed where something is predicted."""
    return flat_buffers(work, loss_of_masked)


def loss_of_masked(module: Any, ids: Tensor, targets: Tensor) -> Tensor:
    """The same loss as `workload.loss`, from the masked positions alone."""
    predicted = targets != IGNORED
    hidden = module.bert(input_ids=ids).last_hidden_state[predicted]
    return torch.nn.functional.cross_entropy(module.cls(hidden), targets[predicted])


def vectorised(work: Workload, together: int) -> Share:
    """Several clients at a time with `torch.func`: every parameter has a dimension more, one entry a client."""
    from torch.func import functional_call, grad, vmap

    data, module = Data(work), work.model().train()
    module.set_attn_implementation(
        "eager"
    )  # the fused kernel of the processor has no batching rule, and is looped over
    names = [name for name, _ in module.named_parameters()]
    buffers = dict(module.named_buffers())

    def loss_at(parameters: dict[str, Tensor], ids: Tensor, targets: Tensor) -> Tensor:
        arguments = {"input_ids": ids, "labels": targets}
        result: Tensor = functional_call(module, {**parameters, **buffers}, (), arguments).loss
        return result

    first = vmap(grad(loss_at), in_dims=(None, 0, 0))
    later = vmap(grad(loss_at), in_dims=(0, 0, 0))

    def share(weights: Tensor, clients: Sequence[int], total: Tensor) -> int:
        samples = 0
        for begin in range(0, len(clients), together):
            chunk = list(clients[begin : begin + together])
            parameters = dict(zip(names, split(weights, module), strict=True))
            pieces = (torch.split(whole[chunk], work.batch_samples, 1) for whole in (data.ids, data.targets))
            for step, (ids, targets) in enumerate(zip(*pieces, strict=True)):
                if step == 0:  # all have the same weights still, and matrices need no dimension of clients
                    slopes = first(parameters, ids, targets)
                    parameters = {n: slopes[n].mul_(-LEARNING_RATE).add_(parameters[n]) for n in names}
                else:
                    slopes = later(parameters, ids, targets)
                    torch._foreach_add_(list(parameters.values()), [slopes[n] for n in names], alpha=-LEARNING_RATE)
            for name, place in zip(names, split(total, module), strict=True):
                place.add_(parameters[name].sum(0), alpha=work.samples)
            samples += work.samples * len(chunk)
        return samples

    return share
