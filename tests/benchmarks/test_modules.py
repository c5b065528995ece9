"""Every module of the benchmarks can be imported: some run in processes of their own, where no test would see it."""

import importlib
import pkgutil

import pytest

import benchmarks


@pytest.mark.parametrize("name", sorted(module.name for module in pkgutil.iter_modules(benchmarks.__path__)))
def test_it_imports(name: str) -> None:
    importlib.import_module(f"benchmarks.{name}")
