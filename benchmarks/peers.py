"""Peers that benchmarks compare with: their environments in `.peers/NAME`, made on first use, and their processes.

Each peer has one file of pins, `benchmarks/peer_scripts/NAME.txt`. Its digest is kept in the environment, which is made
again when the pins or the Python change.
"""

import fcntl
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.child import ROOT, Child
from pnol_jax.errors import InputError
from pnol_jax.files import sha256_bytes, write_atomically

_SCRIPTS = Path(__file__).parent / "peer_scripts"

# The packages that are installed without what they ask for: their experiment loggers, plots and configuration readers.
# What they import stands among the pins.
_BARE: dict[str, tuple[str, ...]] = {
    "neuraloperator": ("neuraloperator",),
    "laplax": (),
    "triton": (),
    "litserve": (),
    "tritonclient": (),
    "schemathesis": (),
    "playwright": (),
}

# What `pnol_jax.memory` tells malloc, as glibc's environment variables.
KEEP_MEMORY = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1),
    "MALLOC_TOP_PAD_": str(256 * 2**20),
}


def neuraloperator_speed(size: str, keep_memory: bool = False, tf32: bool = False) -> Child:
    """neuraloperator's FNO at one of `peer_scripts.sizes.SIZES`, with the operations `step` and `forward`."""
    script = _SCRIPTS / "neuraloperator_speed.py"
    options = ["--tf32"] if tf32 else []
    return Child([python_of("neuraloperator"), script, size, *options], KEEP_MEMORY if keep_memory else {})


def neuraloperator_darcy(train: Path, tests: Sequence[Path], epochs: int = 15, seed: int = 0) -> dict[str, Any]:
    """Train neuraloperator's FNO on a Darcy set of .npz files and return its errors, its seconds and its versions.

    Raises:
        subprocess.CalledProcessError: it failed; what it had to say stands on standard error.
    """
    script = _SCRIPTS / "neuraloperator_darcy.py"
    options = ["--epochs", str(epochs), "--seed", str(seed)]
    command = [python_of("neuraloperator"), script, train, *tests, *options]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def laplax(size: str, folder: Path, precision: str = "float32") -> Child:
    """laplax on one of `laplace_problem.SIZES`, with the operations `fit` and `predict`; its answers go to `folder`."""
    environment = KEEP_MEMORY | {"PYTHONPATH": str(ROOT)}
    return Child([python_of("laplax"), _SCRIPTS / "laplax_laplace.py", size, folder, precision], environment)


def python_of(peer: str, folder: Path = ROOT / ".peers") -> Path:
    """The interpreter of a peer's environment, which is made first if need be.

    Raises:
        InputError: there is no peer of that name.
        subprocess.CalledProcessError: an installation failed; its output stands on standard error.
    """
    if peer not in _BARE:
        raise InputError(f"got the peer {peer!r}, expected one of {sorted(_BARE)}")
    pins = (_SCRIPTS / f"{peer}.txt").read_text()
    environment = folder / peer
    digest = sha256_bytes(f"{sys.version_info[:3]} {_BARE[peer]}\n{pins}".encode())
    seal = environment / "pins.sha256"
    with _alone(folder / f"{peer}.lock"):
        if not (seal.exists() and seal.read_text() == digest):
            print(f"Making {environment} (once; it takes a while)", file=sys.stderr)
            shutil.rmtree(environment, ignore_errors=True)
            make_environment(environment, pins, _BARE[peer])
            write_atomically(seal, digest)
    return environment / "bin" / "python"


def make_environment(environment: Path, pins: str, bare: Sequence[str]) -> None:
    """Make a virtual environment and install the pinned packages into it, the `bare` ones without dependencies.

    With pip and not with uv: only pip finds a build of PyTorch that the machine's own pip settings point to.
    """
    lines = [line for line in pins.splitlines() if line and not line.startswith("#")]
    alone = [line for line in lines if line.split("==")[0] in bare]
    subprocess.run([sys.executable, "-m", "venv", environment], check=True, stdout=sys.stderr)
    install = [environment / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, *(line for line in lines if line not in alone)], check=True, stdout=sys.stderr)
    if alone:
        subprocess.run([*install, "--no-deps", *alone], check=True, stdout=sys.stderr)


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Two benchmarks that start together make an environment once."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
