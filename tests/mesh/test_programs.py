"""A program is what its arguments' division makes of it, whatever it was called with before."""

import os
import subprocess
import sys
from pathlib import Path

from tests.devices import flags

SCRIPT = """
import jax.numpy as jnp
from pnol_jax.config import MeshConfig
from pnol_jax.sharding.divide import divided
from pnol_jax.sharding.mesh import make_mesh, use
from pnol_jax.sharding.placement import OF_CASES, WHOLE, placed

with use(make_mesh(MeshConfig(data=2))):
    at_hand = divided(lambda rows: jnp.asarray(rows.shape[0]), WHOLE)
    print(*(int(at_hand(placed(jnp.ones((6, 3)), division))) for division in (WHOLE, OF_CASES, WHOLE)))
"""


def test_one_program_takes_arguments_that_are_whole_and_the_same_divided() -> None:
    environment = os.environ | {"XLA_FLAGS": flags(2), "JAX_PLATFORMS": "cpu"}
    command, root = [sys.executable, "-c", SCRIPT], Path(__file__).parents[2]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout == "6 3 6\n", done.stderr
