import numpy as np
import pytest
import torch

from fedsim.engine.inline import InlineEngine
from fedsim.errors import UserError
from tests.engine.tasks import measure


def test_one_thread_while_it_is_open() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    with InlineEngine() as engine:
        assert (torch.get_num_threads(), engine.hosts, engine.events()) == (1, 1, [])
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


def test_as_many_threads_as_it_is_asked_for() -> None:
    before = torch.get_num_threads()
    with InlineEngine(threads=3):
        assert torch.get_num_threads() == 3
    assert torch.get_num_threads() == before


def test_a_result_for_every_task() -> None:
    with InlineEngine() as engine:
        results = list(engine.run([measure(2), measure(0), measure(1)], "measure"))
    assert sorted(result.index for result in results) == [0, 1, 2]
    assert all(result.seconds > 0 for result in results)


def test_a_host_takes_a_group_when_a_task_wants_it_and_just_once_a_version() -> None:
    with InlineEngine() as engine:
        engine.publish("a", 0, np.zeros(3, np.float32))
        engine.publish("b", 0, np.ones(3, np.float32))
        list(engine.run([measure(0, a=0)], "first"))
        assert engine._host.missing(measure(0, a=0, b=0)) == ["b"]
        engine.publish("a", 1, np.full(3, 7, np.float32))
        list(engine.run([measure(0, a=1)], "second"))
        assert engine._host._groups["a"][1].tolist() == [7, 7, 7]


def test_no_gpu_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="no CUDA device"):
        InlineEngine("cuda")
