"""ProgFed: Wang et al., ICML 2022, arXiv 2110.05323."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from fedsim.methods.fedavg import FedAvg
from fedsim.methods.progfed import ProgFed, stage_lengths
from fedsim.papers.base import BERT_BASE, MLM, Row, one_batch, spent

TITLE = "ProgFed: Effective, Communication, and Computation Efficient Federated Learning by Progressive Training (2022)"


@dataclass(frozen=True)
class Network:
    """A network cut into blocks, as its parameters."""

    blocks: tuple[int, ...]
    heads: tuple[int, ...]
    """The head of each stage: pooling and a linear layer; the network's own in the last."""

    @property
    def stages(self) -> tuple[int, ...]:
        """Parameters of the model in each stage."""
        return tuple(sum(self.blocks[: index + 1]) + head for index, head in enumerate(self.heads))


def conv(into: int, out: int, kernel: int = 3, *, bias: bool = True) -> int:
    """Parameters of a convolution."""
    return into * out * kernel * kernel + bias * out


def dense(into: int, out: int) -> int:
    """Parameters of a linear layer."""
    return into * out + out


def saved(parameters: Sequence[int], rounds: Sequence[int], extra: int = 0) -> float:
    """Share of the traffic that growing saves, against training the last stage's model in all of these rounds.

    Args:
        parameters: of the model in each stage.
        rounds: of each stage.
        extra: parameters sent in further rounds, such as warm-ups that come on top.
    """
    sent = sum(size * length for size, length in zip(parameters, rounds, strict=True)) + extra
    return 1 - sent / (parameters[-1] * sum(rounds))


def resnet18(classes: int) -> Network:
    """ResNet-18 for small images: first convolution and conv2_x, conv3_x, conv4_x, conv5_x; a norm has 2 a channel."""
    widths = (64, 128, 256, 512)
    blocks = [conv(3, 64, bias=False) + 2 * 64 + 4 * (conv(64, 64, bias=False) + 2 * 64)]
    for into, out in pairwise(widths):
        shortcut = conv(into, out, 1, bias=False)
        blocks.append(conv(into, out, bias=False) + 3 * conv(out, out, bias=False) + shortcut + 5 * 2 * out)
    return Network(tuple(blocks), tuple(dense(width, classes) for width in widths))


CIFAR_10 = Network(
    (conv(3, 32), conv(32, 64), conv(64, 64), dense(4 * 4 * 64, 64)),
    (dense(32, 10), dense(64, 10), dense(64, 10), dense(64, 16)),
)
"""Three convolutions and a linear layer; the published code's last head has 16 outputs."""
EMNIST = Network((conv(1, 32), conv(32, 64), dense(12 * 12 * 64, 128)), (dense(32, 62), dense(64, 62), dense(128, 62)))


def rows() -> Sequence[Row]:
    """Savings of the paper's federated experiments, and the schedule on BERT-base."""
    return [*_images(), *_bert()]


def _images() -> Iterator[Row]:
    table, unit = "federated experiments", "% of traffic saved"
    for name, network, rounds, warmup, printed, note in (
        ("CIFAR-10", CIFAR_10, 2000, 0, 29.70, ""),
        ("CIFAR-100", resnet18(100), 3000, 25, 22.90, "the published code charges the k-th warm-up round k times"),
        ("EMNIST", EMNIST, 1500, 5, 29.49, "we found no explanation of the rest"),
    ):
        lengths = stage_lengths(rounds, len(network.stages))
        new = sum(block + head for block, head in zip(network.blocks[1:], network.heads[1:], strict=True))
        ours = 100 * saved(network.stages, lengths, warmup * new)
        once = "warm-up rounds on top, each charged once" if warmup else "no warm-up"
        yield Row(table, name, "one-way traffic", unit, printed, ours, f"{once}; {note}" if note else once)


def _bert() -> Iterator[Row]:
    table, work = "BERT-base, equal blocks (not in the paper)", one_batch(32, 128, 614)
    traffic = {2: 90.3, 3: 87.1, 4: 85.4, 6: 83.8, 12: 82.2}
    for stages, printed in traffic.items():
        method = ProgFed.model_validate({"further_pretrain": {"stages": stages}})
        ours, whole = (spent(m, "further_pretrain", 24, BERT_BASE, MLM, work) for m in (method, FedAvg()))
        share = 100 * (3 * stages + 1) / (4 * stages)
        layers = 100 * ours.layers_only_flops / whole.layers_only_flops
        upload = 100 * ours.upload_bytes / whole.upload_bytes
        row, closed = f"S = {stages}", "printed: (3S + 1) / (4S), what the paper's stage lengths give"
        yield Row(table, row, "compute, layers only", "% of FedAvg", share, layers, closed)
        yield Row(table, row, "compute, all FLOPs", "% of FedAvg", share, 100 * ours.flops / whole.flops, closed)
        note = "printed: the same with embeddings and MLM head in every stage"
        yield Row(table, row, "one-way traffic", "% of FedAvg", printed, upload, note)
