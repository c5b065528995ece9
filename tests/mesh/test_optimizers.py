"""Every optimiser on parameters that a mesh divides."""

import os
import subprocess
import sys
from pathlib import Path

from tests.devices import flags

SHARDED = """
import jax, numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from tests.quadratic import CONFIGS, run_of, start
mesh = jax.make_mesh((2,), ("fsdp",), axis_types=(jax.sharding.AxisType.Auto,))
spread = lambda leaf: jax.device_put(leaf, NamedSharding(mesh, PartitionSpec(*[None] * (leaf.ndim - 1), "fsdp")))
for name in CONFIGS:
    one, _ = run_of(name).descend(start(0), start(1), 10)
    two, _ = run_of(name).descend(jax.tree.map(spread, start(0)), jax.tree.map(spread, start(1)), 10)
    for key in one:
        assert len(two[key].sharding.device_set) == 2, (name, key)
        np.testing.assert_allclose(two[key], one[key], rtol=1e-8, atol=1e-10, err_msg=f"{name}: {key}")
print("equal")
"""


def test_sharded_parameters_are_trained_as_whole_ones() -> None:
    environment = os.environ | {"XLA_FLAGS": flags(2), "JAX_PLATFORMS": "cpu"}
    environment |= {"JAX_ENABLE_X64": "1"}
    command, root = [sys.executable, "-c", SHARDED], Path(__file__).parents[2]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout == "equal\n", done.stderr
