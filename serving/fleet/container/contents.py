"""What is in an image: Debian's packages as scanners read them, and all packages as a CycloneDX bill of materials.

`python3 -m serving.fleet.container.contents ROOT ENVIRONMENT` prints the bill.
"""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

STATUS = "var/lib/dpkg/status.d"  # a file for each package, as in images without dpkg


def write_packages(files: Iterable[Path], root: Path) -> None:
    """Write status and licence of the packages that files came in; a file of no package is passed over.

    Raises:
        subprocess.CalledProcessError: dpkg-query failed.
    """
    places = sorted({str(place) for file in files for place in (file, _other_place(file))})
    found = subprocess.run(["dpkg-query", "--search", *places], capture_output=True, text=True, check=False).stdout
    names = {line.split(":", 1)[0] for line in found.splitlines() if not line.startswith("diversion ")}
    (root / STATUS).mkdir(parents=True)
    for name in sorted(names):
        asked = subprocess.run(["dpkg-query", "--status", name], capture_output=True, text=True, check=True)
        (root / STATUS / name).write_text(asked.stdout, encoding="utf-8")
        licence = Path("usr/share/doc") / name / "copyright"
        (root / licence).parent.mkdir(parents=True)
        shutil.copyfile("/" / licence, root / licence)


def _other_place(file: Path) -> Path:
    """The same file by the other name that dpkg may know it by, where /lib is a link to /usr/lib."""
    usr = Path("/usr")
    return Path("/") / file.relative_to(usr) if file.is_relative_to(usr) else usr / file.relative_to("/")


def bill(root: Path, environment: Path) -> dict[str, Any]:
    """The bill of materials of a root from `serving.fleet.container.root` and of a Python environment."""
    parts = [_component("deb/debian", *_version(file)) for file in sorted((root / STATUS).iterdir())]
    folders = [str(folder) for folder in environment.glob("lib/python3*/site-packages")]
    python = sorted((_canonical(found.name), found.version) for found in distributions(path=folders))
    parts += [_component("pypi", name, version) for name, version in python]
    return {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": parts}


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _version(status: Path) -> tuple[str, str]:
    lines = status.read_text(encoding="utf-8").splitlines()
    return status.name, next(line.removeprefix("Version: ") for line in lines if line.startswith("Version: "))


def _component(kind: str, name: str, version: str) -> dict[str, str]:
    return {"type": "library", "name": name, "version": version, "purl": f"pkg:{kind}/{name}@{version}"}


if __name__ == "__main__":
    print(json.dumps(bill(Path(sys.argv[1]), Path(sys.argv[2])), indent=1))
