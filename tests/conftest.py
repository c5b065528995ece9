"""Fixtures for all tests."""

import os
from collections.abc import Iterator
from pathlib import Path

# Several test processes share a GPU where there is one, so none may take most of its memory at its start.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import pytest


@pytest.fixture
def x64() -> Iterator[None]:
    """JAX computes in float64 during this test, and in float32 again after it."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """An empty folder for one run."""
    folder = tmp_path / "run"
    folder.mkdir()
    return folder
