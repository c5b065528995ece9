"""What is in the images, and what is not."""

import os
import re
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.containers.podman import ROOT, Podman

SHELLS = {"sh", "bash", "dash", "busybox"}
INSTALLERS = {"apt", "apt-get", "dpkg", "pip", "pip3", "gcc", "ld", "strip", "uv", "perl"}
USER = 10001
UNCHECKED = 1  # the flags of compiled code that is taken as it is, whatever its source's time
ELSEWHERE = "sys_platform == 'win32'"


@pytest.fixture(params=["image", "training"])
def built(request: pytest.FixtureRequest) -> str:
    """Each of the images."""
    name: str = request.getfixturevalue(request.param)
    return name


@pytest.fixture
def files(engine: Podman, built: str) -> Iterator[Path]:
    """Its files."""
    with engine.mounted(built) as folder:
        yield folder


def test_neither_shells_nor_installers_nor_setuid(files: Path) -> None:
    paths = [path for path in files.rglob("*") if path.is_file() and not path.is_symlink()]
    runnable = [path for path in paths if path.stat().st_mode & 0o111 and path.suffix != ".so"]
    assert not {path.name for path in runnable} & (SHELLS | INSTALLERS)
    assert not [path for path in paths if path.stat().st_mode & (stat.S_ISUID | stat.S_ISGID)]
    assert not [path for path in files.rglob("*") if path.name in ("pip", "setuptools", "ensurepip") and path.is_dir()]


def test_the_user_owns_its_caches_alone(files: Path) -> None:
    owned = [path.relative_to(files).as_posix() for path in files.rglob("*") if path.lstat().st_uid != 0]
    assert owned == ["cache"]
    for_all = [path for path in files.rglob("*") if not path.is_symlink() and path.stat().st_mode & stat.S_IWOTH]
    assert [path.relative_to(files).as_posix() for path in for_all] == ["tmp"]


def test_all_code_is_compiled_whatever_its_times(files: Path) -> None:
    for folder in ("app", "opt/pnol/lib"):
        sources = [path for path in (files / folder).rglob("*.py") if _compiles(path)]
        assert sources
        for source in sources:
            [compiled] = (source.parent / "__pycache__").glob(f"{source.stem}.cpython-3??.pyc")
            assert int.from_bytes(compiled.read_bytes()[4:8], "little") == UNCHECKED, source


def _compiles(path: Path) -> bool:
    return "templates" not in path.parts


def test_packages_are_those_of_the_lock(files: Path, built: str) -> None:
    lock = (ROOT / "containers" / f"{built.rpartition(':')[2]}.lock").read_text()
    pins = re.findall(r"^([a-z0-9-]+)==(\S+)(.*)", lock, re.MULTILINE)
    named = {(name, version) for name, version, where in pins if ELSEWHERE not in where}
    document = msgspec.json.decode((files / "opt/pnol/bill.cdx.json").read_bytes())
    parts = [(part["name"], part["version"], part["purl"]) for part in document["components"]]
    python = {(name, version) for name, version, purl in parts if purl.startswith("pkg:pypi/")}
    assert python == named
    debian = {name for name, _, purl in parts if purl.startswith("pkg:deb/")}
    assert {"libc6", "libssl3", "tini"} <= debian
    assert all((files / "usr/share/doc" / name / "copyright").is_file() for name in debian)


def test_no_layer_tells_what_the_build_was_told(engine: Podman, built: str) -> None:
    drivers = engine.inspect(built, "image")["GraphDriver"]["Data"]
    layers = [*drivers.get("LowerDir", "").split(":"), drivers["UpperDir"]]
    found = subprocess.run(["grep", "-rlF", engine.mark, *layers], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (1, "")  # 1: looked through, and nothing found
    history = engine("history", "--no-trunc", "--format=json", built) + engine("inspect", "--type=image", built)
    assert engine.mark not in history
    names = {path.name for layer in layers for path in Path(layer).rglob("*")}
    assert not names & {"pip.conf", "index.crt", ".git", "requirements.lock", "tokens.toml", ".netrc", ".ssh"}


def test_what_the_image_says_of_itself(engine: Podman, built: str) -> None:
    config = engine.inspect(built, "image")["Config"]
    assert config["User"] == f"{USER}:{USER}"
    assert config["Entrypoint"][:2] == ["tini", "--"]
    labels = config["Labels"]
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert {"title", "version", "revision", "description"} <= {name.rpartition(".")[2] for name in labels}


def test_a_build_is_found_again_where_nothing_changed(engine: Podman, image: str) -> None:
    before = engine.inspect(image, "image")["Id"]
    engine.build("cpu")
    assert engine.inspect(image, "image")["Id"] == before


def test_the_storage_lies_outside_the_checkout(engine: Podman) -> None:
    assert not engine.folder.is_relative_to(ROOT)
    assert os.access(engine.folder, os.W_OK)
