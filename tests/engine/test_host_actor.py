"""What runs a host says who it is and what it is doing."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fedsim.engine.host_actor import HostActor, describe
from fedsim.engine.tasks import ClientWork, Task
from tests.engine.tasks import measure
from tests.engine.test_disk import block


def test_a_host_says_who_it_is_and_what_failed() -> None:
    threads, host = torch.get_num_threads(), HostActor(1, 2, "cpu", "float32", 1)
    torch.set_num_threads(threads)
    assert repr(host) == "Host 1 of 2"
    host.run(measure(0), {})
    assert repr(host) == "Host 1 of 2"
    with pytest.raises(TypeError):
        host.run(Task(0, 1.0, measure(0).shape, "", {}), {})
    assert repr(host) == "Host 1 of 2: Task"


def test_what_a_host_is_doing_is_said_in_the_words_of_the_trace(tmp_path: Path) -> None:
    clients = tuple(ClientWork(client, (client,), (0, 1), {}) for client in range(48))
    task = replace(block(tmp_path, 17, 12), method="fedbt", stage=2, clients=clients)
    assert describe(task) == "48 clients, fedbt stage 2, round 17"
    assert describe(replace(task, clients=clients[:1])) == "1 client, fedbt stage 2, round 17"
    assert describe(measure(0)) == "measuring memory"
