"""The Open Inference Protocol's metadata: of the server, and of a model's tensors."""

from collections.abc import Sequence
from typing import Any

import pnol_jax
from pnol_jax.servable import DERIVED, FUNCTIONAL, Manifest
from serving.query import OUTPUTS
from serving.wire.tensors import COORDINATES, FUNCTIONALS

EXTENSIONS = ["binary_tensor_data", "model_repository"]


def server_metadata() -> dict[str, Any]:
    """The server's metadata."""
    return {"name": "pnol-jax", "version": pnol_jax.__version__, "extensions": EXTENSIONS}


def model_metadata(manifest: Manifest, versions: Sequence[str]) -> dict[str, Any]:
    """A model's metadata; -1 stands for any number of cases or points. Of a variant also what was done to it."""
    signature = manifest.signature
    space = [-1] * len(signature.axes)
    inputs: list[dict[str, Any]] = [
        {"name": "inputs", "datatype": "FP32", "shape": [-1, *space, len(signature.inputs)]}
    ]
    inputs += [
        {"name": f"{COORDINATES}{i}", "datatype": "FP64", "shape": [-1], "optional": True} for i in range(len(space))
    ]
    channels = len(signature.outputs)
    knows = not {"functional", "samples"}.isdisjoint(signature.answers)
    if knows:
        inputs.append({"name": FUNCTIONALS, "datatype": "FP32", "shape": [-1, *space, channels], "optional": True})
    fields = {"datatype": "FP32", "shape": [-1, *space, channels]}
    outputs: list[dict[str, Any]] = [{"name": name, **fields} for name in OUTPUTS[:-1]]
    outputs += [{"name": name, "datatype": "FP32", "shape": [-1]} for name in signature.figure_names]
    several = [*(["samples"] if "samples" in signature.answers else []), *DERIVED[:2]]
    outputs += [{"name": name, "datatype": "FP32", "shape": [-1, -1, *space, channels]} for name in several]
    outputs += [{"name": name, "datatype": "FP32", "shape": [-1, -1]} for name in (FUNCTIONAL if knows else ())]
    variant = {} if manifest.optimised is None else {"optimised": manifest.optimised}
    return {
        "name": manifest.name,
        "versions": list(versions),
        "platform": "jax_export",
        "inputs": inputs,
        "outputs": outputs,
        **variant,
    }
