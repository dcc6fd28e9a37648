"""A run on Ray, read back from Debian's Prometheus, which scrapes it as `fedsim monitor` says."""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from fedsim.monitor.dashboard import dashboard, queries
from fedsim.monitor.provision import Provision
from fedsim.monitor.series import SERIES
from fedsim.trace.reader import Run, read_run
from tests import runs

from .test_command import free_port

CLUSTER = """
import subprocess, sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={
    "num_cpus": 1, "include_dashboard": True, "dashboard_port": int(sys.argv[2]), "temp_dir": sys.argv[1] + "/ray",
    "object_store_memory": 100_000_000})
node = cluster.head_node
page = f"http://{node.node_ip_address}:{node.metrics_export_port}/metrics"
# a driver that does not reach Ray's agent at its start, as on a busy machine, never sends any number: take another
for _ in range(5):
    if subprocess.call([sys.executable, "-c", sys.argv[3], cluster.address, page]) == 0:
        break
sys.stdin.readline()  # what was recorded goes with the cluster
"""

DRIVER = """
import logging, sys, time
from urllib.request import urlopen
import ray
from ray.util.metrics import Gauge
ray.init(sys.argv[1], logging_level=logging.ERROR, log_to_driver=False)
heard = Gauge("heard", "that what this driver records is read on the page of the agent")
for _ in range(60):
    heard.set(1)
    time.sleep(1)
    try:
        with urlopen(sys.argv[2], timeout=10) as page:
            if b"ray_heard" in page.read():
                break
    except OSError:
        pass  # the agent may still be starting
else:
    sys.exit("Ray's agent reads nothing of this driver")
from fedsim import cli
sys.argv = ["fedsim", "scenario", "small.yaml", "--hosts", "1", "--out", "run"]
try:
    cli.main()
except SystemExit as ended:
    print("ended", ended.code, flush=True)
sys.stdin.readline()  # the gauges go with the driver
"""


@pytest.fixture(scope="module")
def short() -> Iterator[Path]:
    """A folder whose name is short enough for Ray's sockets."""
    with tempfile.TemporaryDirectory(prefix="fs") as folder:
        yield Path(folder)


def ask(url: str, query: str) -> list[dict[str, Any]]:
    with urlopen(f"{url}/api/v1/query?{urlencode({'query': query})}", timeout=10) as answer:
        found = json.load(answer)
    assert found["status"] == "success", found
    result: list[dict[str, Any]] = found["data"]["result"]
    return result


def wait_for(url: str, query: str, value: float, log: Path) -> None:
    end = time.monotonic() + 300
    found: list[dict[str, Any]] = []
    while time.monotonic() < end:
        with suppress(OSError):  # it may still be starting
            found = ask(url, query)
        if found and float(found[0]["value"][1]) == value:
            return
        time.sleep(0.5)
    with urlopen(f"{url}/api/v1/targets", timeout=10) as answer:
        targets = json.load(answer)["data"]["activeTargets"]
    read = [(t["scrapeUrl"], t["health"], t["lastError"]) for t in targets]
    pytest.fail(f"{query} is {found}, not {value}; read: {read}\n{log.read_text()[-5000:]}")


def answers(url: str, query: str) -> bool:
    """Whether it finds something; a rate needs two scrapes."""
    for _ in range(40):
        if ask(url, query):
            return True
        time.sleep(0.5)
    return False


def compare(url: str, run: Run) -> None:
    """Sums of counters are the trace's, to the byte."""
    for method, rows in run.rounds.groupby("method"):
        for direction, column in (("up", "upload_bytes"), ("down", "download_bytes")):
            name = f'ray_fedsim_traffic_bytes_total{{method="{method}",direction="{direction}"'
            (whole,) = ask(url, f"sum({name}}})")
            assert int(float(whole["value"][1])) == rows[column].sum()
            (wasted,) = ask(url, f'sum({name},use="wasted"}}) or vector(0)')
            assert int(float(wasted["value"][1])) == rows[f"wasted_{column}"].sum()
        trips = ask(url, f'sum by (outcome) (ray_fedsim_trips_total{{method="{method}"}})')
        counts = {found["metric"]["outcome"]: int(found["value"][1]) for found in trips}
        assert counts == {outcome: rows[outcome].sum() for outcome in counts}
        assert sum(counts.values()) == rows["cohort"].sum()


@pytest.mark.slow
def test_series_of_a_run_are_read_back(short: Path, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("prometheus") is None:
        pytest.fail("there is no prometheus: apt-get install --no-install-recommends prometheus", pytrace=False)
    for file in world.iterdir():
        shutil.copy(file, short)
    raw = runs.small({"fedavg": {}, "fedbt": {}})
    (short / "small.yaml").write_text(json.dumps(raw), encoding="utf-8")
    monkeypatch.setenv("RAY_TMPDIR", str(short))
    monkeypatch.setenv("RAY_metrics_report_interval_ms", "500")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    # a cluster that another test started in this process may have left `token` here, and the agent would ask for one
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    provision = Provision(short / "monitoring", free_port(), free_port())
    provision.write()
    config = provision.folder / "prometheus.yml"
    config.write_text(config.read_text().replace("scrape_interval: 5s", "scrape_interval: 1s"))
    url = provision.prometheus_url
    with (
        (short / "log").open("w") as log,
        subprocess.Popen(provision.prometheus, stdout=log, stderr=log) as prometheus,
        subprocess.Popen(
            [sys.executable, "-c", CLUSTER, str(short), str(free_port()), DRIVER],
            cwd=short,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            text=True,
        ) as process,
    ):
        try:
            wait_for(url, 'ray_fedsim_round{method="fedbt",phase="finetune"}', 5, short / "log")
            run = read_run(short / "run")
            assert run.rounds["wasted_download_bytes"].sum() > 0
            last = run.rounds[run.rounds["method"] == "fedbt"]
            bytes_ = last["download_bytes"].sum()
            wait_for(url, 'sum(ray_fedsim_traffic_bytes_total{method="fedbt",direction="down"})', bytes_, short / "log")
            compare(url, run)
            silent = [s.exported for s in SERIES if not ask(url, f'{{__name__=~"{s.exported}(_count)?"}}')]
            assert silent == ["ray_fedsim_server_flops_total"]  # central pre-training is not a method's own
            (target,) = {found["metric"]["run"] for found in ask(url, "ray_fedsim_round")}
            assert target == "run"
            for query in queries(dashboard())[:-2]:
                chosen = query.replace("$run", ".*").replace("$method", ".*")
                assert "server_flops" in query or answers(url, chosen), query
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(60)
            prometheus.terminate()
