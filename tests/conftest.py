"""Fixtures for all tests."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Several test processes share a GPU where there is one, so none may take most of its memory at its start.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

# Tests compare with mathematics, which a GPU's TensorFloat-32 is too coarse for.
os.environ.setdefault("JAX_DEFAULT_MATMUL_PRECISION", "highest")

# Programs that run once are not worth optimising by LLVM: some tests take 39% less. XLA_FLAGS of the caller go first.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

# Most of the tests' time is the compilation of small programs, many of them the same. What one process has compiled,
# the others of this session read: those that tests start too, as they inherit the environment.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="pnol-compiled-")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)

import jax
import pytest

from tests.shapes import checked

if os.environ.get("SHAPES"):
    checked.install()  # before a module is imported that takes a function from another


@pytest.fixture
def x64() -> Iterator[None]:
    """JAX computes in float64 during this test, and in float32 again after it."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module", autouse=True)
def programs() -> Iterator[None]:
    """What a file has compiled is let go after it: a process of all tests would hold gigabytes of it."""
    yield
    jax.clear_caches()


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """An empty folder for one run."""
    folder = tmp_path / "run"
    folder.mkdir()
    return folder
