"""Getting one file out of the package index: a wheel, through pip, checked against its digest."""

import ensurepip
import importlib.util
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from pnol_jax.errors import InputError
from pnol_jax.files import sha256_bytes


def pip_command() -> list[str]:
    """How to call pip here: the environment's own, else the one bundled with Python, else uv's.

    Raises:
        InputError: there is none.
    """
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    bundled = sorted((Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl"))
    if bundled:
        return [sys.executable, str(bundled[-1] / "pip")]
    if shutil.which("uv"):
        return ["uv", "tool", "run", "pip"]
    raise InputError("no pip: neither in this environment, nor bundled with this Python, nor through uv; install pip")


def download_wheel(requirement: str, digest: str) -> bytes:
    """A wheel's content, by a requirement such as `package==1.0`, without its dependencies.

    Raises:
        InputError: it cannot be had (no network?), or its SHA-256 is not `digest`.
    """
    options = ["--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--no-input", "--retries=2"]
    with tempfile.TemporaryDirectory() as folder:
        command = [*pip_command(), "download", *options, f"--dest={folder}", requirement]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or len(wheels) != 1:
            reason = (done.stderr.strip() or done.stdout.strip() or "nothing was downloaded").splitlines()[-1]
            raise InputError(f"cannot download {requirement} through pip: {reason}; is there a network connection?")
        return checked(wheels[0].read_bytes(), digest, requirement)


def checked(data: bytes, digest: str, where: str) -> bytes:
    """The data, if its SHA-256 is the given one.

    Raises:
        InputError: it is not.
    """
    got = sha256_bytes(data)
    if got != digest:
        raise InputError(f"{where}: got SHA-256 {got}, expected {digest}: damaged, or not what was published")
    return data
