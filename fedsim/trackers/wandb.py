"""Weights & Biases: its service where a key is at hand, else files in the run's folder to be synchronised later."""

import netrc
import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from fedsim.trackers.base import Row, Status, Subject, Value

PACKAGES = ("wandb",)


def where(folder: Path) -> str:
    """Where the numbers of a run go, in words."""
    if _mode() == "offline":
        files = folder / "wandb"
        return f"offline, {files} (no key was found); upload it: wandb sync --append {files}/offline-run-*"
    return "the service that Weights & Biases is set up for"


class WeightsAndBiases:
    """A run of W&B for each method, in a group with the name of the run's folder."""

    def __init__(self, subject: Subject, known: str | None) -> None:
        if _mode() == "offline":
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        self.id = known or uuid.uuid4().hex[:8]
        quiet = wandb.Settings(
            silent=True, console="off", disable_git=True, disable_code=True, x_disable_stats=True, x_disable_meta=True
        )
        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or subject.scenario,
            name=subject.name,
            group=subject.folder.resolve().name,
            id=self.id,
            resume="allow" if known else None,
            dir=str(subject.folder.resolve()),
            mode=_mode(),
            config=dict(subject.parameters),
            reinit="create_new",
            settings=quiet,
        )
        self._run.define_metric("round")
        self._run.define_metric("*", step_metric="round")

    def log(self, rows: Sequence[Row]) -> None:
        """The numbers of a round together: any of them can be an axis for the others."""
        for one in rows:
            self._run.log({"round": one.round, **one.all}, step=one.round)

    def end(self, status: Status, summary: Mapping[str, Value]) -> None:
        """The summary as W&B's own."""
        self._run.summary.update({**summary, "status": status})
        self._run.finish(exit_code=0 if status == "finished" else 1)


def open_session(subject: Subject, known: str | None) -> WeightsAndBiases:
    """Begin to report, or go on."""
    return WeightsAndBiases(subject, known)


def _mode() -> Literal["offline"] | None:
    """Offline where nobody says otherwise and there is no key; None leaves it to W&B's own settings."""
    if os.environ.get("WANDB_MODE") or os.environ.get("WANDB_API_KEY"):
        return None
    host = urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").hostname
    try:
        known = netrc.netrc(os.environ.get("NETRC")).authenticators(str(host))
    except (OSError, netrc.NetrcParseError):
        known = None
    return None if known else "offline"
