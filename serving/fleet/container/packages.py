"""The Python environment of an image: exactly what a lock names, without tests and symbols, compiled.

`python3 -m serving.fleet.container.packages LOCK ENVIRONMENT`, in the stage that builds; pip reads its own settings.
"""

import shutil
import subprocess
import sys
from pathlib import Path

PIP = ("install", "--no-cache-dir", "--no-compile", "--no-deps", "--require-hashes", "--only-binary", ":all:")
TESTED = ("numpy", "scipy")  # whose tests are large
MOVED = (".libs", "nvidia")  # folders of libraries that their wheels' makers patched, or that have no symbols left
# By no time of a file: where an image's times are set, all would be compiled again at each start.
COMPILE = ("-m", "compileall", "-q", "-j", "0", "--invalidation-mode", "unchecked-hash")


def install(lock: Path, environment: Path) -> None:
    """Make the environment.

    Raises:
        subprocess.CalledProcessError: a package cannot be had, or only with another hash than the lock's.
    """
    python = environment / "bin/python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    subprocess.run([sys.executable, "-m", "pip", "--python", python, *PIP, "--requirement", lock], check=True)
    for script in (environment / "bin").iterdir():
        if not script.name.startswith("python"):
            script.unlink()
    for site in environment.glob("lib/python3*/site-packages"):
        for folder in [each for package in TESTED for each in (site / package).rglob("tests")]:
            shutil.rmtree(folder)
        for library in site.rglob("*.so"):
            if not any(part.endswith(MOVED) for part in library.relative_to(site).parts):
                subprocess.run(["strip", "--strip-unneeded", library], check=True)
    subprocess.run([python, *COMPILE, environment / "lib"], check=True)


if __name__ == "__main__":
    install(Path(sys.argv[1]), Path(sys.argv[2]))
