"""What docs/cluster.md and its manifest hand to a cluster, as far as it can be checked without one."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/cluster.md").read_text("utf-8")
SHELL = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@cache
def cluster() -> dict[str, Any]:
    return YAML(typ="safe").load(ROOT / "docs/kuberay.yaml")


def groups() -> list[dict[str, Any]]:
    """Return the head's group and those of the workers."""
    spec = cluster()["spec"]
    return [spec["headGroupSpec"], *spec["workerGroupSpecs"]]


def ray_options(command: str) -> set[str]:
    """Return the options of `ray COMMAND`; skips where Ray is not installed."""
    scripts = pytest.importorskip("ray.scripts.scripts")
    return {option for parameter in scripts.cli.commands[command].params for option in parameter.opts}


@pytest.mark.parametrize("number", range(len(SHELL)))
def test_shellcheck_finds_nothing_in_the_commands(number: int) -> None:
    text = SHELL[number]
    shellcheck = Path(sys.executable).with_name("shellcheck")
    command = [shellcheck, "--shell=bash", "-"]
    found = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")


def test_ray_takes_the_options_of_the_page() -> None:
    lines = [line for text in SHELL for line in text.replace("\\\n", " ").splitlines()]
    found = {"start": 0, "symmetric-run": 0}
    for line in lines:
        words = shlex.split(line, comments=True)
        if "ray" not in words or words.index("ray") > 1:
            continue
        name, *rest = words[words.index("ray") + 1 :]
        options = {word.partition("=")[0] for word in (rest[: rest.index("--")] if "--" in rest else rest)}
        own = ray_options(name) | (ray_options("start") if name == "symmetric-run" else set())
        assert {option for option in options if option.startswith("-")} <= own
        found[name] += 1
    assert found == {"start": 2, "symmetric-run": 1}


def test_the_manifest_starts_ray_with_options_that_it_has() -> None:
    assert (cluster()["apiVersion"], cluster()["kind"]) == ("ray.io/v1", "RayCluster")
    for group in groups():
        assert {f"--{name}" for name in group["rayStartParams"]} <= ray_options("start")
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
    assert cluster()["spec"]["rayVersion"] == metadata.version("ray")
    head, *workers = groups()
    assert head["rayStartParams"]["num-cpus"] == "0"
    assert all(worker["replicas"] == worker["minReplicas"] == worker["maxReplicas"] for worker in workers)


def test_the_manifests_pods_have_one_image_one_project_and_probes_without_a_dashboard() -> None:
    (user,) = re.findall(r"^USER (\d+)$", (ROOT / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    pods = [group["template"]["spec"] for group in groups()]
    containers = [container for pod in pods for container in pod["containers"]]
    assert len(containers) == len(pods)
    assert len({container["image"] for container in containers}) == 1
    for group, pod, container in zip(groups(), pods, containers, strict=True):
        assert pod["securityContext"]["runAsUser"] == int(user)
        assert "command" not in container  # KubeRay would run it before `ray start`
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        (mount,) = container["volumeMounts"]
        assert mount["mountPath"] == container["workingDir"]
        assert volumes[mount["name"]]["persistentVolumeClaim"]["claimName"] == "mobilebench"
        assert all(isinstance(entry["value"], str) for entry in container["env"])
        port = int(group["rayStartParams"].get("node-manager-port", 6379))  # the head's is that of its own service
        assert container["readinessProbe"] == container["livenessProbe"]
        assert container["livenessProbe"]["tcpSocket"] == {"port": port}
