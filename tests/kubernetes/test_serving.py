"""The manifests of a fleet on a real API server and kubelet: answers, faults, a new release, the autoscaler."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil

from serving.client import Client
from tests.kubernetes.adapter import metrics
from tests.kubernetes.conftest import FIGURES
from tests.kubernetes.extension import extended
from tests.kubernetes.fleet import FIELD, NAME, SOLUTION, Fleet, load
from tests.kubernetes.node import Node
from tests.kubernetes.prometheus import prometheus
from tests.processes import until

NEXT = "localhost/pnol:next"
RIGHTS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")


def test_a_pod_answers_as_a_user_without_rights(fleet: Fleet, worker: Node) -> None:
    check_answer(fleet)
    [pod] = fleet.pods()
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{served(worker, pod)}/status").read_text().splitlines())
    assert status["Uid"].split() == status["Gid"].split() == ["10001"] * 4
    assert {int(status[right], 16) for right in RIGHTS} == {0}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert pod["status"]["qosClass"] == "Guaranteed"


def test_the_server_holds_what_was_written(fleet: Fleet) -> None:
    written = fleet.manifest("deployment")["spec"]["template"]["spec"]["containers"][0]
    held = fleet.cluster.get("deployment", NAME)["spec"]["template"]["spec"]["containers"][0]
    for key in ("image", "env", "resources", "securityContext", "volumeMounts"):
        assert held[key] == written[key], key
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert held[probe].items() >= {**written[probe], "httpGet": held[probe]["httpGet"]}.items()
    assert fleet.cluster.get("poddisruptionbudget", NAME)["status"]["expectedPods"] == 1
    policy = fleet.cluster.get("networkpolicy", NAME)["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]  # held, and enforced by nothing here
    assert "grafana_dashboard" in fleet.cluster.get("configmap", f"{NAME}-dashboard")["metadata"]["labels"]


def test_killed_is_started_again(fleet: Fleet, worker: Node) -> None:
    [pod] = fleet.pods()
    os.kill(served(worker, pod), signal.SIGKILL)
    FIGURES.append(f"SIGKILL of the service to ready again: {until_restarted(fleet, pod):.1f} s")


def test_frozen_is_started_again(fleet: Fleet, worker: Node) -> None:
    [pod] = fleet.pods()
    os.kill(served(worker, pod), signal.SIGSTOP)
    FIGURES.append(f"SIGSTOP of the service to ready again, liveness and grace: {until_restarted(fleet, pod):.1f} s")


def test_a_new_release_under_load_fails_no_request(fleet: Fleet, worker: Node) -> None:
    worker.ctr("images", "tag", "localhost/pnol:cpu", NEXT)
    [before] = fleet.pods()
    with load(fleet.url, clients=2) as found:
        until(lambda: found.answered > 20, "load", seconds=180)
        began = time.monotonic()
        fleet.write(f"kubernetes.image={NEXT}")
        fleet.apply()
        until(
            lambda: fleet.pods() and name(before) not in map(name, fleet.all_pods()), "the old pod is gone", seconds=180
        )
        seconds, at = time.monotonic() - began, found.answered
        until(lambda: found.answered > at + 20, "load on the new pod", seconds=180)
    [after] = fleet.pods()
    assert after["spec"]["containers"][0]["image"] == NEXT
    assert not found.failed
    assert not found.wrong
    FIGURES.append(f"rolling update under load: {seconds:.1f} s, 0 of {found.answered} requests failed")


def test_a_release_that_does_not_start_leaves_the_old_one(fleet: Fleet) -> None:
    [before] = fleet.pods()
    image = before["spec"]["containers"][0]["image"]
    fleet.write("kubernetes.image=localhost/pnol:absent")
    fleet.apply()
    until(lambda: "localhost/pnol:absent" in waiting(fleet), "an image that is nowhere", seconds=180)
    assert [name(pod) for pod in fleet.pods()] == [name(before)]
    check_answer(fleet)
    fleet.write(f"kubernetes.image={image}")
    fleet.apply()
    until(lambda: [name(pod) for pod in fleet.all_pods()] == [name(before)], "only the old pod", seconds=180)


def test_the_autoscaler_follows_our_load(fleet: Fleet) -> None:
    monitor, rules, values = (fleet.manifest(name) for name in ("service-monitor", "rules", "adapter/values"))
    with (
        prometheus(fleet.cluster, monitor, rules) as address,
        extended(fleet.cluster, metrics(values, address)),
    ):
        until(lambda: told(fleet) == {"pnol_load"}, "the autoscaler knows the load", seconds=180)
        assert len(fleet.pods()) == 1
        with load(fleet.url, clients=12) as found:
            up = fleet.until_pods(3)
        down = fleet.until_pods(1)
    assert not found.failed
    FIGURES.append(f"autoscaler, under load from 1 to 3 ready pods: {up:.1f} s; without it back to 1: {down:.1f} s")


def told(fleet: Fleet) -> set[str]:
    """Of what the autoscaler has figures."""
    status = fleet.cluster.get("horizontalpodautoscaler.v2beta2.autoscaling", NAME)["status"]
    known = status.get("currentMetrics") or []  # with an empty one for what could not be read
    return {each["external"]["metric"]["name"] for each in known if "external" in each}


def served(worker: Node, pod: dict[str, Any]) -> int:
    """The process of the service: the child of the container's init."""
    [child] = psutil.Process(worker.init(pod)).children()
    return child.pid


def until_restarted(fleet: Fleet, pod: dict[str, Any]) -> float:
    """Wait until the same pod is ready again; the seconds that it took."""
    began = time.monotonic()
    once_more = (name(pod), restarts(pod) + 1)
    until(lambda: once_more in [(name(each), restarts(each)) for each in fleet.pods()], "ready again", seconds=180)
    check_answer(fleet)
    return time.monotonic() - began


def waiting(fleet: Fleet) -> list[str]:
    """Images that pods wait for in vain."""
    states = [state for pod in fleet.all_pods() for state in pod["status"].get("containerStatuses", [])]
    reasons = ("ErrImagePull", "ImagePullBackOff")
    return [each["image"] for each in states if each["state"].get("waiting", {}).get("reason") in reasons]


def check_answer(fleet: Fleet) -> None:
    """The Service answers, and rightly."""
    with Client(fleet.url) as client:
        assert abs(client.predict(FIELD, outputs=["mean"]).arrays["mean"] - SOLUTION).max() < 1e-5


def restarts(pod: dict[str, Any]) -> int:
    """How often its container was started again."""
    return int(pod["status"]["containerStatuses"][0]["restartCount"])


def name(pod: dict[str, Any]) -> str:
    """By which the cluster knows it."""
    return str(pod["metadata"]["name"])
