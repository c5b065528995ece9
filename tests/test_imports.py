"""Imports point one way, and serving works where nothing of training is installed."""

import subprocess
import sys
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]

# What serving, and the rooms of the library that it reads, must do without.
TRAINING_ONLY = ("exponax", "flax", "grain", "h5py", "matplotlib", "optax", "orbax", "rich", "scipy", "tensorboardX")
SERVING_READS = (
    "errors",
    "files",
    "toml",
    "memory",
    "grids",
    "bases",
    "normal",
    "ports",
    "quantiles",
    "predictive",
    "risk",
    "calibration",
    "servable",
)

# Runs in a fresh interpreter: refuses the named packages, then imports every module that the folders hold.
IMPORT_ALL = """
import importlib, pkgutil, sys
blocked, names = sys.argv[1].split(","), sys.argv[2].split(",")
sys.modules.update(dict.fromkeys(blocked))
for name in names:
    module = importlib.import_module(name)
    for inner in pkgutil.walk_packages(getattr(module, "__path__", []), name + "."):
        if not inner.name.endswith("__main__"):
            importlib.import_module(inner.name)
"""


def _python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300)


def _import_without(blocked: tuple[str, ...], names: list[str]) -> str:
    done = _python("-W", "error::DeprecationWarning:__main__", "-c", IMPORT_ALL, ",".join(blocked), ",".join(names))
    return done.stderr if done.returncode else ""


def _exists(module: str) -> bool:
    path = ROOT.joinpath(*module.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def test_import_directions() -> None:
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    done = _python("-c", code)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_serving_reads_of_the_library_needs_no_training_package() -> None:
    rooms = [name for room in SERVING_READS if _exists(name := f"pnol_jax.{room}")]
    assert _import_without(TRAINING_ONLY, rooms) == ""


def test_serving_needs_no_training_package() -> None:
    assert _import_without(TRAINING_ONLY, ["serving"]) == ""


def test_serving_reads_only_its_rooms_of_the_library() -> None:
    graph = grimp.build_graph("pnol_jax", "serving", cache_dir=None)
    reads = {
        imported
        for module in graph.find_descendants("serving") | {"serving"}
        for imported in graph.find_modules_directly_imported_by(module)
        if imported.startswith("pnol_jax.")
    }
    assert {name.split(".")[1] for name in reads} <= set(SERVING_READS)


def test_a_blocked_package_is_noticed() -> None:
    assert "halted; None in sys.modules" in _import_without(("json",), ["json"])
