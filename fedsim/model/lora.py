"""Low-rank factors inside the modules of layers (LoRA, Hu et al. 2022)."""

import re

from torch import nn

from fedsim.model.adapters import paths
from fedsim.model.architecture import Architecture
from fedsim.model.meta import unallocated
from fedsim.plan import Adapters


def inject(layers: list[nn.Module], architecture: Architecture, adapters: Adapters) -> None:
    """Put low-rank factors beside the matrices of these layers, by `peft`; without values, as all of them are."""
    from peft import LoraConfig, inject_adapter_in_model

    inside = paths(architecture)
    config = LoraConfig(
        r=adapters.rank,
        lora_alpha=adapters.alpha,  # type: ignore[arg-type]
        lora_dropout=adapters.dropout,
        target_modules="|".join(re.escape(inside[target]) for target in adapters.targets),
    )
    with unallocated():
        for module in layers:
            inject_adapter_in_model(config, module)
