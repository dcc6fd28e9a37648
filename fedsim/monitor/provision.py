"""The files with which Prometheus and Grafana show fedsim's runs."""

import json
import os
import socket
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import yaml

from fedsim.errors import UserError
from fedsim.monitor.dashboard import DATASOURCE, UID, dashboard

LOOPBACK = "127.0.0.1"
NODES = "nodes.json"
"""Nodes that Ray's own list does not reach; written once, then the user's."""


@dataclass(frozen=True)
class Provision:
    """Where the files are and where the two programs will listen."""

    folder: Path
    prometheus_port: int
    grafana_port: int

    @property
    def prometheus_url(self) -> str:
        """Where Prometheus answers."""
        return f"http://{LOOPBACK}:{self.prometheus_port}"

    @property
    def grafana_url(self) -> str:
        """Where Grafana answers."""
        return f"http://{LOOPBACK}:{self.grafana_port}"

    @property
    def page(self) -> str:
        """Our dashboard."""
        return f"{self.grafana_url}/d/{UID}"

    @property
    def prometheus(self) -> list[str]:
        """How Prometheus is started."""
        return [
            "prometheus",
            f"--config.file={self.folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.folder / 'data/prometheus'}",
            f"--web.listen-address={LOOPBACK}:{self.prometheus_port}",
        ]

    @property
    def grafana(self) -> list[str]:
        """How Grafana is started."""
        return ["grafana", "server", "--homepath=/usr/share/grafana", f"--config={self.folder / 'grafana.ini'}"]

    def write(self) -> list[Path]:
        """Write the files; returns them.

        Raises:
            UserError: the folder cannot be written to.
        """
        ray = ray_folder()
        source = {
            "name": "Prometheus",
            "uid": DATASOURCE,
            "type": "prometheus",
            "url": self.prometheus_url,
            "access": "proxy",
            "isDefault": True,
        }
        shown = {"fedsim": self.folder / "dashboards", "Ray": ray / "session_latest/metrics/grafana/dashboards"}
        providers = [
            {"name": name, "folder": name, "type": "file", "options": {"path": str(path)}}
            for name, path in shown.items()
        ]
        texts = {
            "prometheus.yml": yaml.safe_dump(self._scraping(ray), sort_keys=False),
            "grafana.ini": self._grafana_ini(),
            "provisioning/datasources/fedsim.yml": yaml.safe_dump({"apiVersion": 1, "datasources": [source]}),
            "provisioning/dashboards/fedsim.yml": yaml.safe_dump({"apiVersion": 1, "providers": providers}),
            "dashboards/fedsim.json": json.dumps(dashboard(), indent=1) + "\n",
        }
        if not (self.folder / NODES).exists():
            texts[NODES] = "[]\n"
        try:
            for name, text in texts.items():
                file = self.folder / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8")
        except OSError as error:
            raise UserError(
                f"cannot be written to ({error.strerror}): choose another --out", file=self.folder
            ) from error
        return [self.folder / name for name in texts]

    def _scraping(self, ray: Path) -> dict[str, Any]:
        # Ray lists the nodes of the newest cluster on this machine, in one of two places by its version
        found = [ray / "session_latest" / _SERVICE_DISCOVERY, ray / _SERVICE_DISCOVERY, self.folder / NODES]
        return {
            "global": {"scrape_interval": "5s"},
            "scrape_configs": [
                {
                    "job_name": "ray",
                    "file_sd_configs": [{"files": list(map(str, found)), "refresh_interval": "5s"}],
                    "metric_relabel_configs": [{"action": "labeldrop", "regex": "otel_scope_.*"}],
                }
            ],
        }

    def _grafana_ini(self) -> str:
        sections: dict[str, dict[str, object]] = {
            "paths": {"data": self.folder / "data/grafana", "provisioning": self.folder / "provisioning"},
            "server": {"http_addr": LOOPBACK, "http_port": self.grafana_port},
            # without a login, and within Ray's dashboard: it listens to this machine alone
            "auth.anonymous": {"enabled": "true", "org_role": "Viewer"},
            "security": {"allow_embedding": "true"},
            "analytics": {"reporting_enabled": "false", "check_for_updates": "false"},
        }
        lines = [[f"[{name}]", *(f"{key} = {value}" for key, value in own.items())] for name, own in sections.items()]
        return "\n\n".join("\n".join(section) for section in lines) + "\n"


_SERVICE_DISCOVERY = "prom_metrics_service_discovery.json"


def ray_folder() -> Path:
    """Where Ray keeps its sessions on this machine."""
    return Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray"


def running(port: int, health: str, key: str) -> bool:
    """Whether the program for this port is listening there already.

    Args:
        port: to look at.
        health: path at which the program says that it is well.
        key: option that the port comes from.

    Raises:
        UserError: something else listens there.
    """
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, port))
        except OSError:
            pass
        else:
            return False
    try:
        with urlopen(f"http://{LOOPBACK}:{port}{health}", timeout=3):
            return True
    except (OSError, HTTPException) as error:
        if isinstance(error, HTTPError):
            error.close()
        raise UserError(f"port {port} is in use by another program: choose another one", key=key) from error
