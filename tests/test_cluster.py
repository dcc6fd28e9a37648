"""Two nodes on one machine: hosts on both of them, the same bits, and a folder that one of them does not see."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import runs
from tests.markdown import ROOT

RUN = """
import json, logging, sys
from contextlib import contextmanager
from pathlib import Path
import psutil
from ray.cluster_utils import Cluster
from fedsim.engine import shared
from fedsim.engine.ray_pool import RayEngine
from fedsim.errors import UserError
from tests import runs

raw, world, out = json.loads(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
node = {"num_cpus": 2, "object_store_memory": 100_000_000, "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args=node, shutdown_at_exit=True)
cluster.add_node(**{name: value for name, value in node.items() if name != "include_dashboard"})

real = shared._marked
@contextmanager
def elsewhere(folders):
    with real(folders) as marks:  # as if the other node had a folder of its own at that path
        yield {path: "another word" for path in marks}
shared._marked = elsewhere
try:
    RayEngine(2, cluster.address, shared=[out])
except UserError as error:
    refused = str(error)
shared._marked = real

with RayEngine(2, cluster.address, shared=[out]) as engine:
    raylets = {psutil.Process(pid).ppid() for pid in engine.processes()}
    summary = runs.run(raw, world, out, lambda: engine)
cluster.shutdown()
print(json.dumps({"refused": refused, "nodes": len(raylets), "hashes": runs.hashes(summary)}))
"""


@pytest.mark.slow
def test_hosts_on_two_nodes_give_the_same_bits(world: Path, tmp_path: Path) -> None:
    methods = {name: runs.METHODS[name] for name in ("fedbt", "split")}
    raw = runs.small(methods)
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(raw), str(world), str(tmp_path / "spread")],
        cwd=ROOT,
        env={**os.environ, "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["nodes"] == 2
    assert str(tmp_path / "spread") in found["refused"]
    assert "does not see this folder or cannot write to it" in found["refused"]
    assert list((tmp_path / "spread").glob(".seen-*")) == []
    alone = runs.hashes(runs.run(raw, world, tmp_path / "alone"))
    assert {name: tuple(own) for name, own in found["hashes"].items()} == alone
