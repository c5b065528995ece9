"""StableHLO modules as they stand in a servable: what they may do, and what they need not tell.

A StableHLO module computes and nothing else, but for custom calls (functions of the runtime, by name) and the
operations that speak to the host. Both are refused unless they stand here.
"""

from collections.abc import Iterator
from typing import Any

from jax.extend.mlir import deserialize_portable_artifact, ir, passmanager, serialize_portable_artifact
from jax.extend.mlir.dialects import chlo, stablehlo

from pnol_jax.errors import InputError

DIALECTS = frozenset({"builtin", "func", "stablehlo", "chlo"})
FORBIDDEN = frozenset({"stablehlo.infeed", "stablehlo.outfeed", "stablehlo.send", "stablehlo.recv"})

# Each is a pure function of the runtime of the version of JAX that reads it.
CUSTOM_CALLS = frozenset(
    {
        "shape_assertion",  # written for a symbolic batch, gone once the batch is known
        "Sharding",  # an annotation
        "cu_threefry2x32_ffi",  # random bits on CUDA
        "stablehlo.dynamic_top_k",
        "lapack_spotrf_ffi",  # Cholesky, triangular solve, symmetric eigenvalues: posteriors with a covariance
        "lapack_strsm_ffi",
        "lapack_ssyevd_ffi",
        "cusolver_potrf_ffi",
        "cusolver_syevd_ffi",
    }
)


def check_module(module: bytes, where: str) -> None:
    """Refuse a portable StableHLO module that does anything but compute.

    Raises:
        InputError: it cannot be read, or holds an operation or a custom call that is not on the list.
    """
    with _context() as context:
        try:
            parsed = deserialize_portable_artifact(module, context)
        except (ValueError, RuntimeError) as error:
            raise InputError(f"{where}: not a StableHLO module: {str(error)[:200]}") from None
        for operation in _walk(parsed.operation):
            _check_operation(operation, where)


def strip_locations(module: bytes) -> bytes:
    """The module without the places in source files that its operations come from.

    They name folders of the machine that wrote it, and two machines should write the same bytes.
    """
    with _context() as context:
        parsed = deserialize_portable_artifact(module, context)
        passmanager.PassManager.parse("builtin.module(strip-debuginfo)").run(parsed.operation)
        # The version that jax.export writes: what readers of the last four weeks and later understand.
        compatible = stablehlo.StablehloCompatibilityRequirement.WEEK_4
        version = stablehlo.get_version_from_compatibility_requirement(compatible)
        stripped: bytes = serialize_portable_artifact(parsed, version)
    return stripped


def _context() -> Any:
    context = ir.Context()
    context.attach_diagnostic_handler(lambda _: True)  # else they are printed
    stablehlo.register_dialect(context)
    chlo.register_dialect(context)
    return context


def _walk(operation: Any) -> Iterator[Any]:
    yield operation
    for region in operation.regions:
        for block in region.blocks:
            for inner in block.operations:
                yield from _walk(inner.operation)


def _check_operation(operation: Any, where: str) -> None:
    name = operation.name
    if name.partition(".")[0] not in DIALECTS or name in FORBIDDEN:
        raise InputError(f"{where}: operation {name!r} is not allowed in a servable")
    if name == "stablehlo.custom_call":
        target = ir.StringAttr(operation.attributes["call_target_name"]).value
        if target not in CUSTOM_CALLS:
            raise InputError(f"{where}: custom call {target!r} is not allowed, expected one of {sorted(CUSTOM_CALLS)}")
