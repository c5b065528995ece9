"""Nearly right requests of every format: none is a fault of ours, and the right ones between them stay right."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("grpc")

from benchmarks import served_models
from benchmarks.fuzz import EVERY, MODEL, Found, burst
from benchmarks.fuzz_bodies import FORMATS
from benchmarks.fuzz_named import MARCHING
from benchmarks.fuzz_targets import Target, in_process, over_the_network
from serving.settings import read_settings
from tests.serving.conftest import running

FLAGS = ["--batch-sizes", "[1]", "--max-cases", "64", "--max-body-bytes", "1000000"]
FLAGS += ["--rollout-steps", "40", "--repository-control", "true"]
REQUESTS = 1500


@pytest.fixture(scope="module", params=["in process", "server"])
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("fuzz")
    served_models.write(folder / "models", [MODEL, MARCHING])
    if request.param == "in process":
        with in_process(read_settings(["--models", str(folder / "models"), *FLAGS])) as target:
            yield target
        return
    with running(folder / "models", Path(folder / "errors"), *FLAGS, "--grpc-port", "0") as server:
        with over_the_network(server.url, server.grpc, server.process.pid) as target:
            yield target
        assert "failed" not in server.errors.read_text()
        assert server.stop() == 0


def test_no_request_is_a_fault_of_ours_and_right_ones_are_answered_rightly(target: Target) -> None:
    found = Found()
    burst(target, found, np.random.default_rng(7), REQUESTS)
    assert found.faults == []
    assert found.wrong_answers == 0
    assert found.statuses.total() == REQUESTS
    assert found.statuses[400] > REQUESTS / 4
    assert found.statuses[200] > REQUESTS / EVERY  # some that were changed are requests, too
    assert 2 * len(FORMATS) < REQUESTS / EVERY
