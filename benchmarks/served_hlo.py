"""The program of a served model as HLO, for servers that know no servables: see `peer_scripts.hlo_function`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.served_models import SERVED, model, signature
from pnol_jax.bases import make_operands
from pnol_jax.servable import flatten_operands
from pnol_jax.servable.program import moments


def write_hlo(name: str, folder: Path, sizes: Sequence[int]) -> None:
    """Write the moments' program of a model on the uniform grid of its bucket, for batches of these sizes."""
    folder.mkdir(parents=True, exist_ok=True)
    served = SERVED[name]
    predict, weights = model(served)
    described = signature(served)
    grid = described.uniform_grid((served.bucket,) * 2)
    operands = flatten_operands(make_operands(grid, described.bases()))
    inputs = np.zeros((*grid.shape, 1), np.float32)
    program = jax.jit(moments(predict), keep_unused=True)
    for size in sizes:
        many = {key: np.stack([leaf] * size) for key, leaf in operands.items()}
        lowered: Any = program.lower(weights, np.stack([inputs] * size), many)
        (folder / f"batch-{size}.hlo").write_bytes(lowered.compiler_ir("hlo").as_serialized_hlo_module_proto())
    leaves, first = jax.tree.leaves((weights, inputs, operands)), len(weights)
    np.savez(folder / "arguments.npz", **{str(i): np.asarray(leaf) for i, leaf in enumerate(leaves) if i != first})
    about = {
        "inputs": first,
        "shape": inputs.shape,
        "batched": list(range(first + 1, len(leaves))),
        "mean": sorted(("mean", "aleatoric", "epistemic")).index("mean"),
    }
    (folder / "about.json").write_text(json.dumps(about))
