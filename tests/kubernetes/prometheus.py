"""A real Prometheus that scrapes the pods of a Service and records what the rules say.

In place of the Prometheus operator stands a config that says what ServiceMonitor and PrometheusRule say. Debian builds
Prometheus without the discovery of Kubernetes, so that it is told the endpoints over HTTP.
"""

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

from tests.kubernetes.plane import Cluster
from tests.processes import running, until

ADDRESS = "127.0.0.1:19090"


@contextlib.contextmanager
def prometheus(cluster: Cluster, monitor: dict[str, Any], rules: dict[str, Any]) -> Iterator[str]:
    """Its address."""
    folder = cluster.folder
    (folder / "rules.json").write_text(json.dumps(rules["spec"]))
    [endpoint] = monitor["spec"]["endpoints"]
    with _discovery(cluster, monitor) as targets:
        scrape = {"job_name": "monitor", "metrics_path": endpoint["path"]}
        scrape["http_sd_configs"] = [{"url": targets, "refresh_interval": "1s"}]
        config = {
            "global": {"scrape_interval": endpoint["interval"], "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(folder / "rules.json")],
            "scrape_configs": [scrape],
        }
        (folder / "prometheus.json").write_text(json.dumps(config))
        files = [f"--config.file={folder}/prometheus.json", f"--storage.tsdb.path={folder}/series"]
        with running(folder, "prometheus", "prometheus", *files, f"--web.listen-address={ADDRESS}"):
            ready = f"http://{ADDRESS}/-/ready"
            until(lambda: httpx.get(ready).is_success, "Prometheus is ready", httpx.HTTPError, seconds=180)
            yield f"http://{ADDRESS}"


@contextlib.contextmanager
def _discovery(cluster: Cluster, monitor: dict[str, Any]) -> Iterator[str]:
    """An address that tells what the operator would have Prometheus find."""

    class Told(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = json.dumps(_targets(cluster, monitor)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Told) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def _targets(cluster: Cluster, monitor: dict[str, Any]) -> list[dict[str, Any]]:
    """Endpoints of the Services that a ServiceMonitor selects, by its port, with the operator's labels."""
    selector = ",".join(f"{name}={text}" for name, text in monitor["spec"]["selector"]["matchLabels"].items())
    [wanted] = monitor["spec"]["endpoints"]
    found = []
    for endpoints in cluster.get("endpoints", "", f"--selector={selector}"):
        about = endpoints["metadata"]
        for subset in endpoints.get("subsets", []):
            [port] = [each["port"] for each in subset["ports"] if each["name"] == wanted["port"]]
            for address in subset.get("addresses", []) + subset.get("notReadyAddresses", []):
                labels = {"job": about["name"], "namespace": about["namespace"], "pod": address["targetRef"]["name"]}
                found.append({"targets": [f"{address['ip']}:{port}"], "labels": labels})
    return found
