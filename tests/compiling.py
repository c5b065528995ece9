"""How tests compile."""

import contextlib
from collections.abc import Iterator

import jax


@contextlib.contextmanager
def compiled_fast() -> Iterator[None]:
    """For programs that run once or twice: XLA leaves most of its optimisations out."""
    jax.config.update("jax_disable_most_optimizations", True)  # type: ignore[no-untyped-call]
    yield
    jax.config.update("jax_disable_most_optimizations", False)  # type: ignore[no-untyped-call]
