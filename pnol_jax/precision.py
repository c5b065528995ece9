"""How products of float32 numbers are computed: fast in training, exactly wherever an answer is made.

Left to itself, JAX multiplies float32 matrices on NVIDIA's GPUs in TensorFloat-32, with ten bits of mantissa instead of
23. Gradients are noisier than that. An answer is not: a servable exported on a CPU deviated by 2e-3 on an H200, its
variance being the exponential of what the operator says, and the features by which strange inputs are found by 5e-2.
"""

import os
from contextlib import AbstractContextManager

import jax

_ASKED = "JAX_DEFAULT_MATMUL_PRECISION"


def exact() -> AbstractContextManager[None]:
    """What is traced inside multiplies float32 as float32, on every platform."""
    context: AbstractContextManager[None] = jax.default_matmul_precision("highest")
    return context


def fast() -> AbstractContextManager[None]:
    """What is traced inside multiplies as the platform does by itself, or as JAX's environment variable says."""
    context: AbstractContextManager[None] = jax.default_matmul_precision(os.environ.get(_ASKED, "default"))
    return context


def exact_from_here() -> None:
    """The same as `exact` for the rest of the process, but for what is traced in `fast`."""
    jax.config.update("jax_default_matmul_precision", "highest")  # type: ignore[no-untyped-call]
