"""How fast this device trains a BERT: one plain file, for phones, boards and computers.

It needs Python 3.8 and PyTorch, and nothing else: copy it to the device and run `python measure_device.py`. It trains
a BERT of the sizes you give on random tokens for a minute (masked-language modelling, AdamW, float32), takes the time
of forward and backward passes apart, and prints a JSON object, which `python -m fedsim calibrate --from FILE` turns
into a class of devices for scenarios.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

KIND = "fedsim device measurement"
VERSION = 1
SIZES = {"hidden": 768, "layers": 12, "heads": 12, "feed_forward": 3072, "vocabulary": 30522}
"""BERT-base."""
MASKED = 0.15
DROPOUT = 0.1
LEAST_STEPS = 2
"""Steps that are timed in any case, after a first one that is not."""


def positions_of(tokens: int) -> int:
    """Tokens to predict in a sample: the share of its tokens without [CLS] and [SEP], at least one."""
    return max(1, math.floor((tokens - 2) * MASKED + 0.5))


def flops(sizes: dict[str, int], samples: int, tokens: int, positions: int) -> tuple[int, int]:
    """FLOPs of a step, forward and backward: matrix products only, 2 a multiply-add.

    Every product is made once forward, and twice backward: for the gradients of both its factors.
    """
    h, f = sizes["hidden"], sizes["feed_forward"]
    layer = samples * tokens * (4 * 2 * h * h + 2 * 2 * h * f) + samples * tokens * tokens * 2 * 2 * h
    head = positions * (2 * h * h + 2 * h * sizes["vocabulary"])
    forward = sizes["layers"] * layer + head
    return forward, 2 * forward


class Layer(nn.Module):
    """Attention and feed-forward, each with a residual and a norm behind it (Devlin et al. 2019)."""

    def __init__(self, sizes: dict[str, int]) -> None:
        super().__init__()
        h, f = sizes["hidden"], sizes["feed_forward"]
        self.heads = sizes["heads"]
        self.query, self.key, self.value, self.mixed = (nn.Linear(h, h) for _ in range(4))
        self.up, self.down = nn.Linear(h, f), nn.Linear(f, h)
        self.norms = nn.ModuleList([nn.LayerNorm(h), nn.LayerNorm(h)])

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """[B, L, hidden] -> [B, L, hidden]."""
        b, length, h = states.shape
        query, key, value = (
            part(states).view(b, length, self.heads, -1).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        seen = self.mixed(attention(query, key, value, DROPOUT).transpose(1, 2).reshape(b, length, h))
        states = self.norms[0](states + functional.dropout(seen, DROPOUT))
        made = self.down(functional.gelu(self.up(states)))
        out: torch.Tensor = self.norms[1](states + functional.dropout(made, DROPOUT))
        return out


class Bert(nn.Module):
    """Embeddings, layers, and the head that predicts masked tokens with the embeddings' own matrix."""

    def __init__(self, sizes: dict[str, int], tokens: int) -> None:
        super().__init__()
        h = sizes["hidden"]
        self.word, self.place = nn.Embedding(sizes["vocabulary"], h), nn.Embedding(tokens, h)
        nn.init.normal_(self.word.weight, std=0.02)
        nn.init.normal_(self.place.weight, std=0.02)
        self.norm, self.transform, self.head_norm = nn.LayerNorm(h), nn.Linear(h, h), nn.LayerNorm(h)
        self.bias = nn.Parameter(torch.zeros(sizes["vocabulary"]))
        self.layers = nn.ModuleList([Layer(sizes) for _ in range(sizes["layers"])])

    def forward(self, ids: torch.Tensor, places: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean loss over `places`, which count in the flattened [B * L] tokens."""
        states = self.word(ids) + self.place(torch.arange(ids.shape[1], device=ids.device))
        states = functional.dropout(self.norm(states), DROPOUT)
        for layer in self.layers:
            states = layer(states)
        chosen = self.head_norm(functional.gelu(self.transform(states.flatten(0, 1)[places])))
        return functional.cross_entropy(functional.linear(chosen, self.word.weight, self.bias), targets)


def attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, dropout: float) -> torch.Tensor:
    """[B, heads, L, size] -> the same; PyTorch's own from 2.0 on, written out before."""
    if hasattr(functional, "scaled_dot_product_attention"):
        return functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
    weights = torch.softmax(query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1]), dim=-1)
    return functional.dropout(weights, dropout) @ value


def available_bytes(device: str) -> int | None:
    """Memory that a program could take at the moment; None: this system does not say."""
    if device.startswith("cuda"):
        return int(torch.cuda.mem_get_info()[0])
    free = [amount for amount in (_free_in_system(), _free_in_container()) if amount is not None]
    return min(free) if free else None


def _free_in_system() -> int | None:
    info = Path("/proc/meminfo")
    lines = info.read_text(encoding="ascii").splitlines() if info.is_file() else []
    found = [line.split() for line in lines if line.startswith("MemAvailable:")]
    return int(found[0][1]) * 1024 if found else None


def _free_in_container() -> int | None:
    limit, used = (Path("/sys/fs/cgroup") / name for name in ("memory.max", "memory.current"))
    if not (limit.is_file() and used.is_file()):
        return None
    text = limit.read_text(encoding="ascii").strip()
    return None if text == "max" else max(0, int(text) - int(used.read_text(encoding="ascii")))


def peak_bytes(device: str) -> int | None:
    """The most memory that this process has held; None: this system does not say."""
    if device.startswith("cuda"):
        return int(torch.cuda.max_memory_reserved())
    try:
        import resource
    except ImportError:  # Windows
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(most) if sys.platform == "darwin" else int(most) * 1024


def synchronise(device: str) -> None:
    """Wait until a GPU has done what it was given."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def machine(device: str) -> dict[str, Any]:
    """What was measured, in words."""
    name = torch.cuda.get_device_name() if device.startswith("cuda") else _processor()
    return {
        "device": device,
        "processor": name,
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.is_file() else []
    found = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Hardware", "Model"))]
    return found[0] if found else platform.processor() or platform.machine()


def measure(sizes: dict[str, int], samples: int, tokens: int, seconds: float, device: str = "cpu") -> dict[str, Any]:
    """Train for so long; what was found, as JSON has it. The first step is not timed."""
    free = available_bytes(device)
    torch.manual_seed(0)
    model = Bert(sizes, tokens).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    positions = samples * positions_of(tokens)
    ids = torch.randint(sizes["vocabulary"], (samples, tokens), device=device)
    places = torch.randperm(samples * tokens, device=device)[:positions]
    targets = ids.flatten()[places]
    forward_s: list[float] = []
    backward_s: list[float] = []
    ends = math.inf
    while len(forward_s) < 1 + LEAST_STEPS or time.perf_counter() < ends:
        start = time.perf_counter()
        loss = model(ids, places, targets)
        synchronise(device)
        middle = time.perf_counter()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        synchronise(device)
        end = time.perf_counter()
        forward_s.append(middle - start)
        backward_s.append(end - middle)
        if len(forward_s) == 1:
            ends = end + seconds
    forward, backward = flops(sizes, samples, tokens, positions)
    return {
        "kind": KIND,
        "version": VERSION,
        "machine": machine(device),
        "sizes": sizes,
        "samples": samples,
        "tokens": tokens,
        "positions": positions,
        "flops_forward": forward,
        "flops_backward": backward,
        "forward_s": forward_s[1:],
        "backward_s": backward_s[1:],
        "available_bytes": free,
        "peak_bytes": peak_bytes(device),
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="How fast this device trains a BERT. Prints a JSON object.")
    for name, value in SIZES.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value, help=f"{value} if left out")
    parser.add_argument("--batch", type=int, default=8, help="samples in a batch; 8 if left out")
    parser.add_argument("--tokens", type=int, default=128, help="tokens in a sample; 128 if left out")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to train; 60 if left out")
    parser.add_argument("--device", default="cpu", help="cpu or cuda; cpu if left out")
    parser.add_argument("--threads", type=int, help="threads to compute with; PyTorch's choice if left out")
    given = parser.parse_args()
    sizes = {name: getattr(given, name) for name in SIZES}
    threads = 1 if given.threads is None else given.threads
    if min(*sizes.values(), given.batch, threads) < 1 or given.tokens < 3 or not 0 <= given.seconds < math.inf:
        parser.error("sizes must be at least 1, tokens at least 3, seconds at least 0")
    if sizes["hidden"] % sizes["heads"]:
        parser.error(f"--heads must divide --hidden ({sizes['hidden']}), given {sizes['heads']}")
    if given.device not in ("cpu", "cuda"):
        parser.error(f"--device must be cpu or cuda, given {given.device}")
    if given.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: this PyTorch finds no GPU")
    if given.threads is not None:
        torch.set_num_threads(given.threads)
    print(f"training for {given.seconds:g} s ...", file=sys.stderr)
    print(json.dumps(measure(sizes, given.batch, given.tokens, given.seconds, given.device), indent=1))


if __name__ == "__main__":
    main()
