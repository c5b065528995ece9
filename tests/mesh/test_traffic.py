"""What a training step moves between eight devices, as it was last looked at: a new collective shows here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.xdist_group("traffic")  # one process makes what all of them look at
ROOT = Path(__file__).parents[2]
SCRIPT = """
import collections, json, sys
import jax
jax.config.update("jax_num_cpu_devices", 8)
from benchmarks.divided_sides import compiled_step
from benchmarks.peer_scripts.sizes import Size
from pnol_jax.config import MeshConfig
size = Size(points=(32, 32), modes=(16, 16), width=16, batch=8)
for mesh in map(json.loads, sys.stdin):
    given = {"members": 8 if "member" in mesh else 0, "accumulate": mesh.pop("accumulate", 1)}
    cost = compiled_step(size, MeshConfig(**{"data": 1} | mesh), 8, **given)[1]
    found = collections.defaultdict(lambda: [0, 0])
    for collective in cost.collectives:
        entry = found[collective.kind + " " + ",".join(collective.axes)]
        entry[0] += 1
        entry[1] += round(collective.sent)
    print(json.dumps(found))
"""
# Number of collectives, and bytes that each device sends.
GOLDEN: dict[str, dict[str, list[int]]] = {
    # The gradients once, 2 * 7/8 of their bytes; with fsdp the same in two halves, layer by layer.
    '{"data": 8}': {"all-reduce data": [1, 2089164]},
    '{"fsdp": 8}': {
        "all-reduce fsdp": [2, 3528],
        "all-gather fsdp": [18, 1042944],
        "reduce-scatter fsdp": [18, 1042944],
    },
    # Points for modes and back, in each of four layers and in its gradient.
    '{"space": 8}': {
        "all-reduce space": [4, 24997],
        "all-gather space": [2, 4032],
        "all-to-all space": [16, 688128],
    },
    # Kernels are divided by space, and their gradients with them.
    '{"data": 2, "space": 4}': {
        "all-reduce data,space": [1, 28],
        "all-gather space": [2, 3456],
        "all-reduce space": [3, 21330],
        "all-to-all space": [16, 491520],
        "all-reduce data": [2, 309072],
    },
    # In four parts each sends what the whole batch would, gradients included; its fields are a quarter.
    '{"data": 2, "space": 4, "accumulate": 4}': {
        "all-reduce data,space": [2, 56],
        "all-gather space": [2, 3456],
        "all-reduce space": [9, 84990],
        "all-to-all space": [64, 491520],
        "all-reduce data": [5, 309096],
    },
    '{"data": 4, "model": 2}': {
        "all-reduce data,model": [2, 546],
        "reduce-scatter model": [22, 925696],
        "all-reduce model": [1, 16384],
        "all-gather model": [22, 925696],
        "all-reduce data": [1, 895368],
    },
    # Members have nothing to tell each other but what the log shows.
    '{"member": 8}': {"all-reduce member": [1, 294]},
    '{"member": 2, "data": 2, "space": 2}': {
        "all-reduce member,data,space": [2, 140],
        "all-reduce space": [3, 56832],
        "all-gather space": [2, 9216],
        "all-to-all space": [16, 2359296],
        "all-reduce data": [2, 2415936],
        "all-reduce member": [1, 152],
    },
}


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, list[int]]]:
    lines = "".join(json.dumps(json.loads(name)) + "\n" for name in GOLDEN)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], input=lines, capture_output=True, text=True, cwd=ROOT, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(zip(GOLDEN, map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("mesh", GOLDEN)
def test_no_collective_is_new(found: dict[str, dict[str, list[int]]], mesh: str) -> None:
    assert found[mesh] == GOLDEN[mesh]
