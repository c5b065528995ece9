"""tritonclient, unchanged, gets over HTTP and gRPC exactly what our own client gets."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.child import ROOT
from benchmarks.peers import python_of
from serving.client import Client
from tests import heat
from tests.serving.conftest import Server, running

pytest.importorskip("grpc")

INPUTS = np.stack([heat.wave(heat.grid(12), k)[0] for k in (1, 2, 3)])
SCRIPT = ROOT / "benchmarks" / "peer_scripts" / "tritonclient_asks.py"
WAYS = ["binary", "json", "version", "gzip", "deflate", "gzip-answer", "async"]
WAYS += ["grpc", "grpc-version", "grpc-gzip", "grpc-deadline", "grpc-aio"]


@pytest.fixture(scope="module")
def python() -> Path:
    try:
        return python_of("tritonclient")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"tritonclient cannot be installed: {error}")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One version, no cache and batches of one, so that every way computes anew and in the same program."""
    folder = tmp_path_factory.mktemp("models")
    heat.write(folder, "line", "1", axes=1, signature=heat.signature(1, ["moments"]))
    flags = ["--batch-sizes", "[1]", "--cache-bytes", "0", "--grpc-port", "0", "--gzip-level", "1"]
    with running(folder, folder.parent / "errors", *flags) as server:
        yield server


@pytest.fixture(scope="module")
def asked(python: Path, server: Server, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Any]:
    folder = tmp_path_factory.mktemp("asked")
    np.save(folder / "inputs.npy", INPUTS)
    http = server.url.removeprefix("http://")
    command = [python, SCRIPT, http, server.grpc, "line", folder / "inputs.npy", folder / "answers.npz"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), dict(np.load(folder / "answers.npz"))


def test_every_way_gives_the_same_bits(asked: tuple[Any, Any], server: Server) -> None:
    _, answers = asked
    with Client(server.url) as client:
        expected = client.predict(INPUTS, model="line", outputs=["mean", "std", "lower"], level=0.5)
    assert not expected.cached
    assert set(answers) == {f"{way}.{output}" for way in WAYS for output in expected.arrays}
    for name, array in answers.items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, expected[name.rpartition(".")[2]], err_msg=name)
    for found, k in zip(answers["grpc.mean"], (1, 2, 3), strict=True):
        np.testing.assert_allclose(found, heat.wave(heat.grid(12), k)[1], atol=1e-6)


def test_probes_and_metadata_are_read(asked: tuple[Any, Any], server: Server) -> None:
    facts, _ = asked
    with Client(server.url) as client:
        about, tensors = client.metadata(), client.metadata("line")
    for protocol in ("http", "grpc"):
        said = facts[protocol]
        assert (said["live"], said["ready"], said["models"]) == (True, True, [True, True, False])
        assert said["server"] == about
        assert said["model"]["versions"] == ["1"]
        for side in ("inputs", "outputs"):
            for found, expected in zip(said["model"][side], tensors[side], strict=True):
                assert (found["name"], found["datatype"]) == (expected["name"], expected["datatype"])
                assert [int(n) for n in found["shape"]] == expected["shape"]


def test_refusals_are_told(asked: tuple[Any, Any]) -> None:
    facts, _ = asked
    for said in facts["refusals"].values():
        assert "inputs: got shape [2, 3, 4, 5, 6], expected (x, 1) or (cases, x, 1)" in said
    assert "INVALID_ARGUMENT" in facts["refusals"]["grpc"]
