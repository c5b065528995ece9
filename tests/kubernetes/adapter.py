"""The API by which Kubernetes asks for metrics.

In place of the adapter of Prometheus stand a few lines that follow the same rules, those that `manifests` writes for
its chart.
"""

import contextlib
import json
import re
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from tests.kubernetes.plane import ADAPTER_PORT, Cluster
from tests.kubernetes.processes import until

GROUP = "external.metrics.k8s.io"
ROOT = f"/apis/{GROUP}/v1beta1"
ASKED = re.compile(ROOT + r"/namespaces/(?P<namespace>[^/]+)/(?P<metric>[^/]+)")


@contextlib.contextmanager
def adapter(cluster: Cluster, values: dict[str, Any], prometheus: str) -> Iterator[None]:
    """Tells Kubernetes the metrics of `adapter/values.json`."""
    handler = type("Told", (_Adapter,), {"rules": values["rules"]["external"], "prometheus": prometheus})
    folder = cluster.folder
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "adapter.crt", folder / "adapter.key")
    with ThreadingHTTPServer(("127.0.0.1", ADAPTER_PORT), handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            for manifest in _registration():
                cluster.apply(manifest)
            until(lambda: cluster("get", f"--raw={ROOT}"), "the API of metrics is there", AssertionError)
            yield
        finally:
            server.shutdown()
            thread.join()


def _registration() -> list[dict[str, Any]]:
    port = {"port": ADAPTER_PORT, "protocol": "TCP"}
    service = {"name": "adapter", "namespace": "default", "port": ADAPTER_PORT}
    spec = {"group": GROUP, "version": "v1beta1", "service": service, "insecureSkipTLSVerify": True}
    priorities = {"groupPriorityMinimum": 100, "versionPriority": 100}
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "adapter", "namespace": "default"},
            "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [port]},
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": f"v1beta1.{GROUP}"},
            "spec": spec | priorities,
        },
    ]


class _Adapter(BaseHTTPRequestHandler):
    rules: list[dict[str, Any]]
    prometheus: str

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        asked = ASKED.fullmatch(address.path)
        if asked is None:
            known = [_resource(rule["name"]["as"]) for rule in self.rules]
            return self._answer({"kind": "APIResourceList", "groupVersion": f"{GROUP}/v1beta1", "resources": known})
        [rule] = [rule for rule in self.rules if rule["name"]["as"] == asked["metric"]]
        wanted = [text for text in parse_qs(address.query).get("labelSelector", [""])[0].split(",") if text]
        wanted.append(f"namespace={asked['namespace']}")
        matchers = ",".join(f'{name}="{text}"' for name, _, text in (each.partition("=") for each in wanted))
        series = rule["seriesQuery"].partition("{")[0]
        query = rule["metricsQuery"].replace("<<.Series>>", series).replace("<<.LabelMatchers>>", matchers)
        found = httpx.get(f"{self.prometheus}/api/v1/query", params={"query": query}).json()["data"]["result"]
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        items = [{"metricName": asked["metric"], "timestamp": now, "value": _quantity(each)} for each in found]
        return self._answer({"kind": "ExternalMetricValueList", "apiVersion": f"{GROUP}/v1beta1", "items": items})

    def _answer(self, body: dict[str, Any]) -> None:
        text = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        pass


def _resource(name: str) -> dict[str, Any]:
    return {"name": name, "singularName": "", "namespaced": True, "kind": "ExternalMetricValueList", "verbs": ["get"]}


def _quantity(sample: dict[str, Any]) -> str:
    return f"{round(float(sample['value'][1]) * 1000)}m"
