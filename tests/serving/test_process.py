"""The process: what it loads, what it says, and how it ends."""

import io
import shutil
import socket
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests import heat
from tests.processes import until
from tests.serving.conftest import command, running


def test_a_broken_version_says_why_and_the_others_serve(small: Path, tmp_path: Path) -> None:
    models = shutil.copytree(small, tmp_path / "models")
    shutil.copytree(models / "line" / "1", models / "line" / "2")  # its manifest says 1
    weights = models / "line" / "10" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\xff")
    (models / "line" / ".3.partial").mkdir()
    with running(models, tmp_path / "errors", "--batch-sizes", "[1]") as server:
        assert server.ready_line.endswith("with line/1\n")
        found = {m["version"]: m for m in httpx.get(f"{server.url}/models").json()["models"]}
        assert {version: model["state"] for version, model in found.items()} == {
            "1": "ready",
            "2": "failed",
            "10": "failed",
        }
        assert "its manifest says line/1" in found["2"]["error"]
        assert "weights.safetensors: got SHA-256" in found["10"]["error"]
        assert "line/10: servable" in server.errors.read_text()
        field = heat.wave(heat.grid(12), 1)[0].tolist()
        response = httpx.post(f"{server.url}/predict", json={"inputs": field})
        assert response.json()["version"] == "1"
        assert server.stop() == 0


def test_the_newest_version_answers_unless_one_is_named(small: Path, tmp_path: Path) -> None:
    with running(small, tmp_path / "errors", "--batch-sizes", "[1]") as server:
        field = heat.wave(heat.grid(12), 1)[0].tolist()
        for named, expected in ((None, "10"), ("1", "1"), ("10", "10")):
            response = httpx.post(f"{server.url}/predict", json={"inputs": field, "version": named})
            assert response.json()["version"] == expected


def test_sigterm_answers_what_was_accepted_and_exits_with_0(small: Path, tmp_path: Path) -> None:
    flags = ["--batch-sizes", "[1]", "--max-cases", "1024", "--cache-bytes", "0"]
    with running(small, tmp_path / "errors", *flags) as server, ThreadPoolExecutor(4) as pool:
        field, solution = heat.wave(heat.grid(12), 1)
        scales = np.arange(1, 1001)
        inputs = np.multiply.outer(scales, field).astype(np.float32)

        def ask() -> httpx.Response:
            return httpx.post(
                f"{server.url}/predict", json={"inputs": inputs.tolist(), "outputs": ["mean"]}, timeout=60
            )

        engine = f"{server.url}/stats"
        request = pool.submit(ask)
        until(lambda: httpx.get(engine).json()["engine"]["waiting"] > 0 or request.done())
        assert server.stop() == 0
        answer = np.asarray(request.result().json()["outputs"]["mean"])
        np.testing.assert_allclose(answer, np.multiply.outer(scales, solution), rtol=0, atol=1e-3)
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{server.url}/health")


def test_what_was_handed_over_wrong_is_one_line_and_2(small: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for models, flags, message in (
            (tmp_path / "nowhere", [], "models: no folder"),
            (tmp_path / "empty", [], "no model could be loaded, expected NAME/VERSION/ folders"),
            (small, ["--port", port], "Address already in use"),
        ):
            result = subprocess.run(command(models, *flags), capture_output=True, text=True, timeout=120, check=False)
            assert result.returncode == 2
            assert result.stdout == ""
            assert message in result.stderr
            assert result.stderr.count("\n") == 1


def test_serving_works_where_only_its_own_packages_are_installed(small: Path) -> None:
    # scipy is not among these: JAX itself depends on it.
    script = f"""
        import sys

        class Absent:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in {{
                    "absl", "exponax", "flax", "grain", "h5py", "matplotlib", "optax", "orbax", "rich",
                    "tensorboardX",
                }}:
                    raise ModuleNotFoundError(name)

        sys.meta_path.insert(0, Absent())
        from pnol_jax.servable import load_servable
        from serving import process
        load_servable({str(small / "line" / "1")!r}).replay()
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, timeout=120)


def test_clients_that_leave_take_their_requests_out_of_the_engine(small: Path, tmp_path: Path) -> None:
    flags = ["--batch-sizes", "[1]", "--max-cases", "1024", "--queue-cases", "20000", "--cache-bytes", "0"]
    with running(small, tmp_path / "errors", *flags) as server:
        field, _ = heat.wave(heat.grid(12), 1)

        def request(number: int) -> bytes:
            file = io.BytesIO()
            np.save(file, np.multiply.outer(np.arange(1, 1001) + number, field).astype(np.float32))
            body = file.getvalue()
            head = "POST /predict HTTP/1.1\r\nhost: here\r\ncontent-type: application/x-npy\r\ncontent-length: "
            return f"{head}{len(body)}\r\n\r\n".encode() + body

        def engine() -> dict[str, int]:
            figures: dict[str, int] = httpx.get(f"{server.url}/stats").json()["engine"]
            return figures

        clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(12)]
        for number, client in enumerate(clients):
            client.sendall(request(number))
        until(lambda: engine()["waiting"] > 0)
        for client in clients:
            client.close()
        until(lambda: engine()["waiting"] == 0)
        assert engine()["cases"] < 12_000
        assert "Exception" not in server.errors.read_text()
        assert server.stop() == 0
