"""Groups of Kubernetes' API that are answered here, in this process, by functions of the path and of the selector."""

import contextlib
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.kubernetes.plane import Cluster
from tests.processes import until

VERSION, NAME, PORT = "v1beta1", "extension", 16444
Body = dict[str, Any]
# Of a group: the words of the path after its version, and the selector of labels.
Answer = Callable[[list[str], str], Body]


@contextlib.contextmanager
def extended(cluster: Cluster, groups: Mapping[str, Answer]) -> Iterator[None]:
    """As long as the block the API server asks here."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cluster.folder / f"{NAME}.crt", cluster.folder / f"{NAME}.key")
    with ThreadingHTTPServer(("127.0.0.1", PORT), type("Asked", (_Asked,), {"groups": groups})) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        cluster.apply(_service())
        try:
            for group in groups:
                cluster.apply(_registration(group))
                root = f"--raw=/apis/{group}/{VERSION}"
                until(lambda root=root: cluster("get", root), f"{group} is there", AssertionError, seconds=180)
            yield
        finally:
            cluster("delete", "apiservice", *(f"{VERSION}.{group}" for group in groups))
            server.shutdown()
            thread.join()


def now() -> str:
    """The time as Kubernetes writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _service() -> Body:
    metadata = {"name": NAME, "namespace": "default"}
    spec = {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": PORT, "protocol": "TCP"}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


def _registration(group: str) -> Body:
    service = {"name": NAME, "namespace": "default", "port": PORT}
    spec = {"group": group, "version": VERSION, "service": service, "insecureSkipTLSVerify": True}
    spec |= {"groupPriorityMinimum": 100, "versionPriority": 100}
    metadata = {"name": f"{VERSION}.{group}"}
    return {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": metadata, "spec": spec}


class _Asked(BaseHTTPRequestHandler):
    groups: Mapping[str, Answer]

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        _, _, group, _, *words = address.path.split("/")
        selector = parse_qs(address.query).get("labelSelector", [""])[0]
        text = json.dumps(self.groups[group](words, selector)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        pass
