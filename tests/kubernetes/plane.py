"""The control plane: etcd, API server, controllers and scheduler, on loopback of a network namespace of their own."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.processes import call, running, until

API = "https://127.0.0.1:16443"
TOKEN = "tried"  # of the one user, who may everything; the namespace has no network beyond itself
ETCD = "http://127.0.0.1:12379"
SERVICES = "10.214.0.0/16"
LOOKS = {"horizontal-pod-autoscaler-sync-period": "2s"}


class Cluster:
    """How to speak with it."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder, self.programs = folder, programs
        self.config = folder / "admin.kubeconfig"

    def __call__(self, *words: str, stdin: str | None = None) -> str:
        """What kubectl prints."""
        return call(str(self.programs / "kubectl"), f"--kubeconfig={self.config}", *words, stdin=stdin)

    def apply(self, manifest: Mapping[str, Any]) -> None:
        """Create or change; the client's own schema is older than some fields that the server leaves out."""
        self("apply", "--validate=false", "--filename=-", stdin=json.dumps(manifest))

    def get(self, kind: str, name: str = "", *words: str) -> Any:
        """One, or with no name the list of all."""
        found = json.loads(self("get", kind, *([name] if name else []), *words, "--output=json"))
        return found if name else found["items"]


@contextlib.contextmanager
def control_plane(folder: Path, programs: Path) -> Iterator[Cluster]:
    """Until it answers."""
    call("ip", "link", "set", "lo", "up")
    _keys(folder)
    (folder / "tokens.csv").write_text(f'{TOKEN},admin,admin,"system:masters"\n')
    cluster = Cluster(folder, programs)
    cluster.config.write_text(json.dumps(_kubeconfig()))
    of_all = [f"--kubeconfig={cluster.config}", "--leader-elect=false", "--port=0"]
    with contextlib.ExitStack() as stack:

        def start(name: str, path: str, *words: str) -> None:
            stack.enter_context(running(folder, name, path, *words))

        start("etcd", "etcd", *_etcd(folder))
        start("kube-apiserver", str(programs / "kube-apiserver"), *_flags(_api_server(folder)))
        until(lambda: cluster("get", "--raw=/readyz") == "ok", "the API server is ready", AssertionError, seconds=180)
        controllers = {"service-account-private-key-file": folder / "sa.key", "secure-port": 0, **LOOKS}
        without = "--controllers=*,-nodeipam,-route,-cloud-node-lifecycle"
        manager = "kube-controller-manager"
        start(manager, str(programs / manager), *of_all, without, *_flags(controllers))
        start("kube-scheduler", str(programs / "kube-scheduler"), *of_all, "--secure-port=0")
        until(lambda: cluster.get("serviceaccount", "default"), "controllers run", AssertionError, seconds=180)
        yield cluster


def _flags(of: Mapping[str, Any]) -> list[str]:
    return [f"--{name}={value}" for name, value in of.items()]


def _etcd(folder: Path) -> list[str]:
    peers = "http://127.0.0.1:12380"
    places = {"listen-client-urls": ETCD, "advertise-client-urls": ETCD, "data-dir": folder / "etcd"}
    members = {"listen-peer-urls": peers, "initial-advertise-peer-urls": peers, "initial-cluster": f"default={peers}"}
    return [*_flags(places | members), "--unsafe-no-fsync"]


def _api_server(folder: Path) -> dict[str, Any]:
    return {
        "etcd-servers": ETCD,
        "bind-address": "127.0.0.1",
        "advertise-address": "127.0.0.1",
        "secure-port": API.rpartition(":")[2],
        "cert-dir": folder / "pki",
        "kubelet-preferred-address-types": "InternalIP",
        "token-auth-file": folder / "tokens.csv",
        "authorization-mode": "RBAC",
        "allow-privileged": "false",
        "service-account-issuer": "https://kubernetes.default.svc",
        "service-account-key-file": folder / "sa.key",
        "service-account-signing-key-file": folder / "sa.key",
        "service-cluster-ip-range": SERVICES,
        "requestheader-client-ca-file": folder / "ca.crt",
        "proxy-client-cert-file": folder / "proxy.crt",
        "proxy-client-key-file": folder / "proxy.key",
        "requestheader-username-headers": "X-Remote-User",
        "requestheader-group-headers": "X-Remote-Group",
        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
    }


def _keys(folder: Path) -> None:
    """Of service accounts; of the API server towards those that extend it."""
    made = ["-newkey", "rsa:2048", "-nodes", "-days", "2"]
    call("openssl", "genrsa", "-out", f"{folder}/sa.key", "2048")
    for name in ("ca", "extension"):
        words = ["-subj", f"/CN={name}", "-keyout", f"{folder}/{name}.key", "-out", f"{folder}/{name}.crt"]
        call("openssl", "req", "-x509", *made, *words)
    words = ["-subj", "/CN=proxy", "-keyout", f"{folder}/proxy.key", "-out", f"{folder}/proxy.csr"]
    call("openssl", "req", "-newkey", "rsa:2048", "-nodes", *words)
    signed = ["-CA", f"{folder}/ca.crt", "-CAkey", f"{folder}/ca.key", "-CAcreateserial", "-days", "2"]
    call("openssl", "x509", "-req", "-in", f"{folder}/proxy.csr", *signed, "-out", f"{folder}/proxy.crt")


def _kubeconfig() -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": API, "insecure-skip-tls-verify": True}}],
        "users": [{"name": "u", "user": {"token": TOKEN}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "c",
    }
