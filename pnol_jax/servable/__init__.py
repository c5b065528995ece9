"""The servable, which training writes and serving reads: programs, weights, test vectors and a manifest, no Python."""

from pnol_jax.servable.load import Bucket, Program, Servable, load_servable
from pnol_jax.servable.manifest import (
    DERIVED,
    FIELDS,
    FUNCTIONAL,
    Answers,
    AxisSignature,
    BasisSignature,
    Channel,
    Figure,
    Manifest,
    Signature,
    check_name,
)
from pnol_jax.servable.program import KEYED, Arrays, Predict, added_shapes, case_keys, flatten_operands
from pnol_jax.servable.read import read_manifest
from pnol_jax.servable.vectors import crop, pad
from pnol_jax.servable.weights import SCALE, decode_weights, encode_weights, quantise, restore
from pnol_jax.servable.write import write_servable

__all__ = [
    "DERIVED",
    "FIELDS",
    "FUNCTIONAL",
    "KEYED",
    "SCALE",
    "Answers",
    "Arrays",
    "AxisSignature",
    "BasisSignature",
    "Bucket",
    "Channel",
    "Figure",
    "Manifest",
    "Predict",
    "Program",
    "Servable",
    "Signature",
    "added_shapes",
    "case_keys",
    "check_name",
    "crop",
    "decode_weights",
    "encode_weights",
    "flatten_operands",
    "load_servable",
    "pad",
    "quantise",
    "read_manifest",
    "restore",
    "write_servable",
]
