"""Metrics against values worked out by hand."""

from math import exp

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsim.training.metrics import bio_spans, metrics


def test_mlm() -> None:
    found = metrics("mlm", {"loss": 20.0, "targets": 10.0, "correct": 3.0}, None)
    assert found == {"mlm_loss": 2.0, "mlm_accuracy": 0.3, "perplexity": exp(2.0)}


def test_macro_f1_leaves_out_classes_that_do_not_occur() -> None:
    confusion = np.array([[3, 1, 0], [2, 4, 0], [0, 0, 0]])
    found = metrics("sequence", {"loss": 1.0, "targets": 10.0, "correct": 7.0}, confusion)
    # class 0: precision 3/5, recall 3/4; class 1: precision 4/5, recall 4/6
    assert found["macro_f1"] == pytest.approx((2 / 3 + 8 / 11) / 2)
    assert found["accuracy"] == 0.7


def test_span_f1() -> None:
    sums = {
        "loss": 1.0,
        "targets": 10.0,
        "correct": 5.0,
        "spans_true": 4.0,
        "spans_predicted": 5.0,
        "spans_correct": 2.0,
    }
    found = metrics("tokens", sums, None)
    assert (found["precision"], found["recall"]) == (0.4, 0.5)
    assert found["span_f1"] == pytest.approx(2 * 0.4 * 0.5 / 0.9)


def test_bio_spans() -> None:
    # O B0 I0 O B1 B1 I1 I0 (another type: a new span) O
    tags = np.array([0, 1, 2, 0, 3, 3, 4, 2, 0])
    assert list(bio_spans(tags)) == [(1, 3, 0), (4, 5, 1), (5, 7, 1), (7, 8, 0)]
    assert list(bio_spans(np.array([2, 2, 1]))) == [(0, 2, 0), (2, 3, 0)]


@given(st.lists(st.integers(0, 6), max_size=30))
def test_spans_cover_exactly_the_tagged_tokens(tags: list[int]) -> None:
    covered = [place for start, stop, _ in bio_spans(np.array(tags, np.int64)) for place in range(start, stop)]
    assert covered == [place for place, tag in enumerate(tags) if tag > 0]
