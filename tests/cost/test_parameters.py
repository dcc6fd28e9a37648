from dataclasses import replace

import numpy as np
import pytest
import torch

from fedsim.cost.parameters import Size, group_bytes, group_sizes, local_size, trained_size
from fedsim.model.architecture import Architecture, Head, LocalShape
from fedsim.plan import full
from tests.cost.oracles import (
    BART_BASE,
    BERT_BASE,
    DISTILBERT,
    LINEAR,
    MLM,
    NARROW,
    POOLER,
    PRUNED,
    PRUNED_DISTILBERT,
    TAGS,
    TINY,
    TINY_BART,
    TINY_DISTILBERT,
    TINYBERT_4,
    TINYBERT_6,
    plan,
    reference,
)

MIB = 2**20


def whole(architecture: Architecture, head: Head) -> Size:
    return local_size(LocalShape.of(architecture, head, full(architecture.layers)))


@pytest.mark.parametrize(
    "architecture",
    [BERT_BASE, TINYBERT_6, TINYBERT_4, DISTILBERT, TINY, TINY_DISTILBERT, BART_BASE, TINY_BART],
    ids=["bert", "tinybert6", "tinybert4", "distilbert", "tiny", "tiny_distilbert", "bart", "tiny_bart"],
)
@pytest.mark.parametrize("head", [MLM, POOLER, LINEAR, TAGS], ids=lambda head: head.kind)
def test_groups_match_transformers(architecture: Architecture, head: Head) -> None:
    with torch.device("meta"):
        model = reference(architecture, head, architecture.layers, "eager")
    groups = [list(module.parameters()) for module in (model.embeddings, *model.layers)]
    counted = [Size(sum(p.numel() for p in group), len(group)) for group in [*groups, model.head_parameters]]
    sizes = group_sizes(architecture, head)
    assert list(sizes.values()) == counted
    assert list(sizes) == ["embeddings", *[f"layer.{i}" for i in range(architecture.layers)], "head"]
    assert whole(architecture, head).parameters == sum(p.numel() for p in model.modules.parameters())
    assert group_bytes(architecture, head).tolist() == [4 * size.parameters for size in counted]


@pytest.mark.parametrize("architecture", [PRUNED, PRUNED_DISTILBERT, NARROW], ids=["bert", "distilbert", "narrow"])
@pytest.mark.parametrize("head", [MLM, LINEAR], ids=lambda head: head.kind)
def test_groups_with_fewer_heads_match_sliced_models(architecture: Architecture, head: Head) -> None:
    with torch.device("meta"):
        model = reference(architecture, head, architecture.layers, "eager")
    groups = [list(module.parameters()) for module in (model.embeddings, *model.layers)]
    counted = [Size(sum(p.numel() for p in group), len(group)) for group in [*groups, model.head_parameters]]
    assert list(group_sizes(architecture, head).values()) == counted
    some = LocalShape.of(architecture, head, plan(3, (0, 2), head=True))
    assert trained_size(some).parameters == sum(counted[i].parameters for i in (1, 3, 4))
    two = LocalShape.of(architecture, head, plan(2, (0,), head=True))
    assert local_size(two).parameters == sum(counted[i].parameters for i in (0, 1, 2, 4))


ALL = tuple(range(12))


def test_a_pruned_head_of_bert_base() -> None:
    pruned = replace(BERT_BASE, kept_heads=(ALL, ALL[3:], *[ALL] * 10))
    less = whole(BERT_BASE, MLM).parameters - whole(pruned, MLM).parameters
    assert less == 3 * (4 * 768 * 64 + 3 * 64) == 590_400


def test_published_parameter_counts() -> None:
    assert whole(BERT_BASE, MLM).parameters == 109_514_298
    assert whole(TINYBERT_6, MLM).parameters == 66_987_066
    assert whole(TINYBERT_4, MLM).parameters == 14_381_394
    assert whole(BERT_BASE, LINEAR).parameters == 108_901_645
    assert whole(DISTILBERT, LINEAR).parameters == 66_372_877
    assert whole(TINYBERT_4, LINEAR).parameters == 14_256_661
    assert whole(BART_BASE, MLM).parameters == 139_420_416 + 50_265  # and the bias in front of the vocabulary


def test_published_payloads() -> None:
    assert round(whole(BERT_BASE, MLM).bytes / MIB, 3) == 417.764
    assert round(whole(TINYBERT_6, MLM).bytes / MIB, 3) == 255.535
    assert round(whole(TINYBERT_4, MLM).bytes / MIB, 3) == 54.861
    assert round(whole(BERT_BASE, LINEAR).bytes / 1e6, 3) == 435.607
    assert round(whole(DISTILBERT, LINEAR).bytes / 1e6, 3) == 265.492
    assert round(whole(TINYBERT_4, LINEAR).bytes / 1e6, 3) == 57.027


def test_fedbt_pretraining_upload() -> None:
    sent = trained_size(LocalShape.of(BERT_BASE, MLM, plan(6, (0,), head=True)))
    assert sent == Size(7_710_522, 16 + 5)
    assert round(sent.bytes / MIB, 3) == 29.413
    assert round(100 * sent.bytes / whole(BERT_BASE, MLM).bytes, 2) == 7.04


def test_fedbt_finetuning_mean_upload() -> None:
    suffixes = [plan(12, tuple(range(11 - i % 6, 12)), head=True) for i in range(10)]
    sent = [trained_size(LocalShape.of(BERT_BASE, LINEAR, one)).bytes for one in suffixes]
    assert round(np.mean(sent) / 1e6, 3) == 87.930


def test_trained_size_of_everything_is_the_local_model() -> None:
    shape = LocalShape.of(TINY, MLM, full(3))
    assert trained_size(shape) == local_size(shape)
    assert trained_size(LocalShape(TINY, MLM, 3)) == Size(0, 0)
