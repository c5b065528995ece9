"""The probe of an image, and the locks that images are built from."""

import http.server
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.fleet.container.contents import STATUS, bill
from serving.fleet.container.probe import PATH, ready

ROOT = Path(__file__).parents[2]
PIN = re.compile(r"^([a-z0-9-]+==\S+)(?: ; [^\\]*)?((?: \\\n    --hash=\S+)+)", re.MULTILINE)
ONLY_CUDA = re.compile(r"nvidia-|jax-cuda12-")


class _Answers(http.server.BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == PATH else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    """Of a service whose readiness has the status that the test names."""
    handler = type("Handler", (_Answers,), {"status": request.param})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.mark.parametrize("port", [200], indirect=True)
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_ready_service_is_well_by_any_address(port: int, host: str) -> None:
    assert ready({"PNOL_SERVING_HOST": host, "PNOL_SERVING_PORT": str(port)})


@pytest.mark.parametrize("port", [503, 302], indirect=True)
def test_any_other_answer_is_not(port: int) -> None:
    assert not ready({"PNOL_SERVING_PORT": str(port)})


def test_nor_is_one_that_is_gone_or_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it is connected to, and says nothing
        port = str(silent.getsockname()[1])
        monkeypatch.setattr("serving.fleet.container.probe.SECONDS", 0.1)
        assert not ready({"PNOL_SERVING_PORT": port})
    assert not ready({"PNOL_SERVING_PORT": port})


def test_the_probe_imports_little() -> None:
    code = "import sys, serving.fleet.container.probe; print(*{name.partition('.')[0] for name in sys.modules})"
    asked = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"jax", "numpy", "msgspec", "litestar"} & set(asked.stdout.split())


@pytest.mark.parametrize("target", ["cpu", "train", "cuda12"])
def test_images_hold_what_the_lock_holds(target: str) -> None:
    every = dict(PIN.findall((ROOT / "requirements.lock").read_text()))
    theirs = dict(PIN.findall((ROOT / "containers" / f"{target}.lock").read_text()))
    own = {pin for pin in theirs if target == "cuda12" and ONLY_CUDA.match(pin)}
    assert theirs.keys() - own <= every.keys()
    assert {pin: hashes for pin, hashes in theirs.items() if pin not in own} == {
        pin: every[pin] for pin in theirs.keys() - own
    }
    assert all("--hash=sha256:" in hashes for hashes in theirs.values())


def test_a_bill_names_every_package_once(tmp_path: Path) -> None:
    (tmp_path / STATUS).mkdir(parents=True)
    (tmp_path / STATUS / "libc6").write_text("Package: libc6\nVersion: 2.36-9\nDescription: GNU\n Version: none\n")
    about = tmp_path / "lib/python3.11/site-packages/Some_Thing-1.2.dist-info/METADATA"
    about.parent.mkdir(parents=True)
    about.write_text("Metadata-Version: 2.1\nName: Some_Thing\nVersion: 1.2\n")
    parts = bill(tmp_path, tmp_path)["components"]
    assert [part["purl"] for part in parts] == ["pkg:deb/debian/libc6@2.36-9", "pkg:pypi/some-thing@1.2"]
