"""One node: containerd, a kubelet and the proxy of Services, with a bridge to which pods are tied."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.kubernetes import host
from tests.kubernetes.plane import Cluster
from tests.kubernetes.prepare import PAUSE
from tests.processes import call, running, until

NAME, ADDRESS, PODS = "node", "10.213.255.1", "10.213.0.0/24"
CGROUP = "pnol-kubernetes"
PROXY = [f"--cluster-cidr={PODS}", "--proxy-mode=iptables", "--iptables-min-sync-period=100ms"]
PROXY += [f"--conntrack-{limit}=0" for limit in ("max-per-core", "tcp-timeout-established", "tcp-timeout-close-wait")]
CONTAINERD = """
version = 2
root = "{folder}/containerd"
state = "{folder}/containerd-state"
[grpc]
address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{folder}/cni"
"""


class Node:
    """Its containers, as containerd knows them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.socket = folder, folder / "containerd.sock"

    def ctr(self, *words: str) -> str:
        """What containerd's client prints."""
        return call("ctr", f"--address={self.socket}", "--namespace=k8s.io", *words)

    def load(self, archive: Path) -> None:
        """An image."""
        self.ctr("images", "import", str(archive))

    def init(self, pod: dict[str, Any]) -> int:
        """The first process of a pod's one container."""
        wanted = pod["status"]["containerStatuses"][0]["containerID"].rpartition("/")[2]
        rows = [line.split() for line in self.ctr("tasks", "list").splitlines()]
        return next(int(row[1]) for row in rows if row[0] == wanted)


@contextlib.contextmanager
def node(cluster: Cluster, programs: Path, images: Path) -> Iterator[Node]:
    """A node that is ready."""
    folder = cluster.folder
    found = Node(folder)
    _links(folder)
    (folder / "containerd.toml").write_text(CONTAINERD.format(folder=folder, socket=found.socket, pause=PAUSE))
    (folder / "kubelet.json").write_text(json.dumps(_kubelet()))
    of_both = [f"--kubeconfig={cluster.config}", f"--hostname-override={NAME}"]
    runtime = ["--container-runtime=remote", f"--container-runtime-endpoint=unix://{found.socket}"]
    places = [f"--config={folder}/kubelet.json", f"--root-dir={folder}/kubelet", f"--cert-dir={folder}/kubelet-keys"]
    containerd = ["containerd", f"--config={folder}/containerd.toml"]
    kubelet = [str(programs / "kubelet"), *of_both, *runtime, *places, f"--node-ip={ADDRESS}"]
    with host.kept(CGROUP, folder / "kubelet"), running(folder, "containerd", *containerd):
        until(lambda: found.ctr("version"), "containerd answers", AssertionError, seconds=180)
        for archive in images.glob("*.tar"):
            found.load(archive)
        proxy = [str(programs / "kube-proxy"), *of_both, *PROXY]
        with running(folder, "kubelet", *kubelet), running(folder, "kube-proxy", *proxy):
            until(lambda: _ready(cluster), "the node is ready", AssertionError, seconds=180)
            try:
                yield found
            finally:
                cluster("delete", "deployments,pods", "--all")  # until the kubelet has let go of their volumes


def _ready(cluster: Cluster) -> bool:
    conditions = {each["type"]: each["status"] for each in cluster.get("node", NAME)["status"]["conditions"]}
    return conditions["Ready"] == "True"


def _links(folder: Path) -> None:
    """An address of the node with a way out that leads nowhere."""
    for words in (
        "link add node0 type bridge",
        f"address add {ADDRESS}/24 dev node0",
        "link set node0 up",
        "route add default dev node0",
    ):
        call("ip", *words.split())
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    (folder / "cni").mkdir()
    ipam = {"type": "host-local", "subnet": PODS, "routes": [{"dst": "0.0.0.0/0"}]}
    bridge = {"type": "bridge", "bridge": "pods0", "isGateway": True, "hairpinMode": True, "ipam": ipam}
    plugins = {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge]}
    (folder / "cni/pods.conflist").write_text(json.dumps(plugins))


def _kubelet() -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": "0.0.0.0",
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{CGROUP}",
        "oomScoreAdj": 0,
        "enforceNodeAllocatable": [],
        "failSwapOn": False,
        "resolvConf": "/dev/null",
        "nodeStatusUpdateFrequency": "2s",
        "evictionHard": {"memory.available": "1Mi"},
    }
