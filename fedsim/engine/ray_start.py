"""Starting or joining a Ray cluster, with what goes wrong there told in our words."""

import logging
import os
import signal
import socket
import threading
from collections.abc import Mapping
from typing import Any

from fedsim.errors import UserError
from fedsim.interrupt import Terminated


def initialise(ray: Any, cores: int, address: str | None, job: Mapping[str, str], dashboard: bool) -> None:
    """Start a cluster of as many cores or more, or join the one at `address` or in `$RAY_ADDRESS`.

    Raises:
        UserError: no such cluster, or Ray has no dashboard.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    about = ray.job_config.JobConfig(metadata=dict(job))
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False, "job_config": about}
    key = "engine.address"
    if address is None and (address := os.environ.get("RAY_ADDRESS")):  # as it is within `ray job submit`
        key = "$RAY_ADDRESS"
    if address:
        _knock(address, key)
    else:
        # more hosts than cores are allowed here: they take turns, and results are the same
        options |= {"num_cpus": max(cores, os.cpu_count() or 1), "include_dashboard": dashboard}
        # hosts are what a run waits for: they get the driver's priority, not that of the 15 steps below it
        os.environ.setdefault("RAY_worker_niceness", "0")
        if dashboard and (missing := _no_dashboard()):
            fault = f"cannot be shown ({missing}): pip install 'ray[default]', or go without it"
            raise UserError(fault, key="engine.dashboard")
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        # without an address Ray would join a cluster of this machine that nobody has asked for
        ray.init(address=address or "local", **options)
    except SystemExit as stop:  # a SIGTERM that came while Ray's own handler was in place
        raise Terminated from stop
    except ConnectionError as error:
        fault = f"no Ray cluster lets us in at '{address}': start one, or leave the address out"
        if _knocks(address or ""):
            fault += "; where it asks for a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN to what it wants"
        raise UserError(fault, key=key) from error
    finally:
        # Ray puts in a handler that would end the run without a checkpoint.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_sigterm)


def _knocks(address: str) -> bool:
    """Whether it says where: `auto` and other words that Ray knows do not."""
    return ":" in address


def _knock(address: str, key: str) -> None:
    """Ray itself would try for minutes to reach a cluster that is not there."""
    if not _knocks(address):
        return
    host, _, port = address.rpartition("://")[2].rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, ValueError) as error:
        raise UserError(
            f"nothing answers at '{address}' ({error}): start a cluster there, or leave the address out", key=key
        ) from error


def _no_dashboard() -> ImportError | None:
    """Why Ray cannot show its dashboard; it would say so in several paragraphs and a traceback."""
    try:
        import ray.dashboard.optional_deps  # noqa: F401
    except ImportError as error:
        return error
    return None
