"""What the heads of one model learn from each other."""

import torch
from torch import Tensor
from torch.nn import functional


def mutual_divergence(logits: list[Tensor], targets: Tensor) -> Tensor:
    """How far the answers of several heads are apart (DepthFL, Kim et al. 2023).

    The sum over heads i of the mean over the others j of KL(p_j || p_i), where p_j is taken as given; each a mean over
    what is predicted.
    """
    real = (targets >= 0).to(logits[0].dtype)
    log = [own.log_softmax(-1) for own in logits]
    total = torch.zeros((), device=targets.device)
    for i, own in enumerate(log):
        for j, other in enumerate(log):
            if i != j:
                apart = functional.kl_div(own, other.detach(), reduction="none", log_target=True).sum(-1)
                total = total + (apart * real).sum() / (real.sum() * (len(log) - 1))
    return total
