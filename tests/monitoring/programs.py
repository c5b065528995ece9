"""A real Prometheus and a real Alertmanager on 127.0.0.1, each with its folder; what was started is ended by its id."""

import contextlib
import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from pnol_jax.ports import free_port
from tests.processes import running, until

PROMETHEUS, ALERTMANAGER = "prometheus", "prometheus-alertmanager"  # as Debian calls them
PROMTOOL, AMTOOL = "promtool", "amtool"


def missing(*programs: str) -> str | None:
    """Why a test cannot run here; None if it can."""
    absent = [program for program in programs if shutil.which(program) is None]
    return f"not installed: {', '.join(absent)} (make test-monitoring installs them on Debian)" if absent else None


@contextlib.contextmanager
def prometheus(folder: Path, job: str, target: str, rules: Path, alertmanager: str | None = None) -> Iterator[str]:
    """Its address; it looks at the target and at the rules once a second."""
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules)],
        "scrape_configs": [
            {"job_name": job, "metrics_path": "/monitoring/metrics", "static_configs": [{"targets": [target]}]}
        ],
    }
    if alertmanager:
        config["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]}
    (folder / "prometheus.json").write_text(json.dumps(config))
    address = f"127.0.0.1:{free_port()}"
    files = [f"--config.file={folder}/prometheus.json", f"--storage.tsdb.path={folder}/series"]
    with running(folder, PROMETHEUS, PROMETHEUS, *files, f"--web.listen-address={address}"):
        until(
            lambda: httpx.get(f"http://{address}/-/ready").is_success,
            "Prometheus is ready",
            httpx.HTTPError,
            seconds=120,
        )
        yield f"http://{address}"


@contextlib.contextmanager
def alertmanager(folder: Path, config: dict[str, Any]) -> Iterator[str]:
    """Its host and port."""
    (folder / "alertmanager.json").write_text(json.dumps(config))
    address = f"127.0.0.1:{free_port()}"
    files = [f"--config.file={folder}/alertmanager.json", f"--storage.path={folder}/alerts"]
    alone = ["--cluster.listen-address="]  # no others to agree with
    with running(folder, ALERTMANAGER, ALERTMANAGER, *files, *alone, f"--web.listen-address={address}"):
        until(
            lambda: httpx.get(f"http://{address}/-/ready").is_success,
            "Alertmanager is ready",
            httpx.HTTPError,
            seconds=120,
        )
        yield address


@contextlib.contextmanager
def webhook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An address that messages of Alertmanager can be sent to, and those that came."""
    came: list[dict[str, Any]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/", came
        finally:
            server.shutdown()
            thread.join()


def query(prometheus: str, expression: str) -> list[dict[str, Any]]:
    """What an expression is now.

    Raises:
        AssertionError: Prometheus does not understand it.
    """
    answer = httpx.get(f"{prometheus}/api/v1/query", params={"query": expression}, timeout=30).json()
    assert answer["status"] == "success", f"{expression}: {answer}"
    found: list[dict[str, Any]] = answer["data"]["result"]
    return found
