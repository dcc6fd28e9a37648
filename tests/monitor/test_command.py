import json
import socket
import threading
from collections.abc import Iterator
from configparser import ConfigParser
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml

from fedsim.monitor.dashboard import DATASOURCE, dashboard
from tests.command import Desk


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def answering(code: int) -> Iterator[int]:
    """A port on which every question is answered so."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(code)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def monitor(work: Desk, *options: str, prometheus: int = 0, grafana: int = 0) -> tuple[int, str]:
    ports = ("--prometheus-port", prometheus or free_port(), "--grafana-port", grafana or free_port())
    ended = work.run("monitor", *map(str, ports), *options)
    assert not (ended.out and ended.err)
    return ended.code, ended.out or ended.err


def test_files_lead_from_ray_to_the_page(work: Desk) -> None:
    work.patch.setenv("RAY_TMPDIR", "/elsewhere")
    work.patch.setenv("PATH", "")
    ports = free_port(), free_port()
    code, out = monitor(work, prometheus=ports[0], grafana=ports[1])
    folder = work.folder / "monitoring"
    assert code == 0
    assert f"prometheus --config.file={folder}/prometheus.yml" in out
    assert f"127.0.0.1:{ports[0]}" in out
    assert f"grafana server --homepath=/usr/share/grafana --config={folder}/grafana.ini" in out
    assert out.count("on this machine's path") == 2
    assert f"open http://127.0.0.1:{ports[1]}/d/fedsim" in out
    assert f"RAY_PROMETHEUS_HOST=http://127.0.0.1:{ports[0]} RAY_GRAFANA_HOST=http://127.0.0.1:{ports[1]}" in out
    (job,) = yaml.safe_load((folder / "prometheus.yml").read_text())["scrape_configs"]
    (found,) = job["file_sd_configs"]
    assert found["files"] == [
        "/elsewhere/ray/session_latest/prom_metrics_service_discovery.json",
        "/elsewhere/ray/prom_metrics_service_discovery.json",
        str(folder / "nodes.json"),
    ]
    ini = ConfigParser()
    ini.read(folder / "grafana.ini")
    assert ini["server"] == {"http_addr": "127.0.0.1", "http_port": str(ports[1])}
    provisioning = Path(ini["paths"]["provisioning"])
    (source,) = yaml.safe_load((provisioning / "datasources/fedsim.yml").read_text())["datasources"]
    assert (source["uid"], source["url"]) == (DATASOURCE, f"http://127.0.0.1:{ports[0]}")
    ours, rays = yaml.safe_load((provisioning / "dashboards/fedsim.yml").read_text())["providers"]
    assert json.loads((Path(ours["options"]["path"]) / "fedsim.json").read_text()) == dashboard()
    assert rays["options"]["path"] == "/elsewhere/ray/session_latest/metrics/grafana/dashboards"


def test_a_second_time_leaves_what_the_user_has_added(work: Desk) -> None:
    assert monitor(work, "--out", "here")[0] == 0
    nodes = work.folder / "here/nodes.json"
    assert json.loads(nodes.read_text()) == []
    nodes.write_text('[{"targets": ["10.0.0.7:8080"]}]')
    (work.folder / "here/prometheus.yml").write_text("old")
    assert monitor(work, "--out", "here")[0] == 0
    assert "10.0.0.7:8080" in nodes.read_text()
    assert "scrape_configs" in (work.folder / "here/prometheus.yml").read_text()


def test_a_program_that_runs_already_is_not_to_be_started(work: Desk) -> None:
    with answering(200) as port:
        code, out = monitor(work, prometheus=port)
    assert code == 0
    assert f"Prometheus is running at http://127.0.0.1:{port}" in out
    assert "start Grafana:" in out


@pytest.mark.slow
@pytest.mark.parametrize("option", ["prometheus", "grafana"])
def test_a_port_of_another_program_is_refused(option: str, work: Desk) -> None:
    with answering(404) as port:
        code, text = monitor(work, **{option: port})
    assert code == 2
    assert f"--{option}-port: port {port} is in use by another program" in text
    assert len(text.splitlines()) == 1
    assert not (work.folder / "monitoring").exists()


def test_a_folder_that_is_a_file_is_refused(work: Desk) -> None:
    code, text = monitor(work, "--out", "mine.yaml")
    assert code == 2
    assert "mine.yaml: cannot be written to" in text
    assert "choose another --out" in text
