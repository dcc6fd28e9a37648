"""The job for KubeRay: as its operator reads it, and as fedsim does."""

import shlex
from typing import Any

import typer.main
import yaml

from fedsim.cli import app
from fedsim.scenario.shelf import find
from tests.markdown import ROOT

JOB, CLAIM = yaml.safe_load_all((ROOT / "docs/ray_job.yaml").read_text(encoding="utf-8"))
GROUPS = [JOB["spec"]["rayClusterSpec"]["headGroupSpec"], *JOB["spec"]["rayClusterSpec"]["workerGroupSpecs"]]
PODS: list[dict[str, Any]] = [group["template"]["spec"] for group in GROUPS]


def test_fields_are_those_of_a_ray_job() -> None:
    assert (JOB["apiVersion"], JOB["kind"]) == ("ray.io/v1", "RayJob")
    assert JOB["spec"].keys() <= {
        *("entrypoint", "metadata", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "backoffLimit"),
        "rayClusterSpec",
    }
    assert all(isinstance(value, str) for value in JOB["spec"]["metadata"].values())
    assert JOB["spec"]["rayClusterSpec"].keys() == {"rayVersion", "headGroupSpec", "workerGroupSpecs"}
    head, *workers = GROUPS
    assert head.keys() == {"rayStartParams", "template"}
    for group in workers:
        assert group.keys() == {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    # Kubernetes takes a number where a text is wanted for a mistake
    assert all(isinstance(value, str) for group in GROUPS for value in group["rayStartParams"].values())
    for pod in PODS:
        assert pod.keys() == {"containers", "volumes"}
        (container,) = pod["containers"]
        assert container.keys() <= {"name", "image", "env", "ports", "resources", "volumeMounts"}
        assert all(isinstance(variable["value"], str) for variable in container["env"])


def test_the_version_of_ray_is_the_one_that_is_installed_with_fedsim() -> None:
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert f"ray=={JOB['spec']['rayClusterSpec']['rayVersion']}" in pinned


def test_the_entrypoint_is_a_command_of_a_scenario_that_exists() -> None:
    python, dash, package, name, *options = shlex.split(JOB["spec"]["entrypoint"])
    assert (python, dash, package, name) == ("python", "-m", "fedsim", "scenario")
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    given = command.make_context(name, options).params
    assert find(given["name"]).is_file()
    assert JOB["spec"]["metadata"]["scenario"] == given["name"]
    assert given["out"].is_relative_to("/shared")


def test_every_pod_has_runs_and_cache_on_the_shared_volume() -> None:
    for pod in PODS:
        (container,), (volume,) = pod["containers"], pod["volumes"]
        (mount,) = container["volumeMounts"]
        assert (mount["name"], mount["mountPath"]) == (volume["name"], "/shared")
        assert volume["persistentVolumeClaim"]["claimName"] == CLAIM["metadata"]["name"]
        cache = {variable["name"]: variable["value"] for variable in container["env"]}["FEDSIM_CACHE"]
        assert cache.startswith("/shared/")
    assert CLAIM["spec"]["accessModes"] == ["ReadWriteMany"]
