"""Do all processes run the same thing? A difference in code, config or versions shows as a hang or as a wrong result.

Each process publishes its facts, process 0 compares them, and all learn the verdict and raise alike.
"""

import hashlib
import importlib.metadata
import os
import platform
import socket
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import msgspec
from jax._src import distributed

import pnol_jax
from pnol_jax.sharding.places import Place
from pnol_jax.sharding.processes import Common

Facts = Mapping[str, str]

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "jax-cuda12-plugin")
_SHOWN = 3  # differences that a message names
_WORD = 40  # characters that it shows of a value
_PREFIX = "pnol/agreement"


def facts(config: Any = None, folders: Sequence[Path] = ()) -> dict[str, str]:
    """What must be the same everywhere: each source file, each value of the config, versions, and JAX's settings.

    Args:
        config: a struct or a tree of plain values.
        folders: packages besides the library's own whose sources are compared.
    """
    library = Path(pnol_jax.__file__).parent
    found = {"python": platform.python_version(), "XLA_FLAGS": os.environ.get("XLA_FLAGS", "")}
    found["jax_enable_x64"] = str(jax.config.read("jax_enable_x64"))  # type: ignore[no-untyped-call]
    found |= {package: _version(package) for package in PACKAGES}
    found |= values_of(msgspec.to_builtins(config), "config")
    for folder in (library, *folders):
        found |= source_digests(folder)
    return found


def values_of(tree: Any, path: str) -> dict[str, str]:
    """The leaves of a tree of plain values by their dotted names."""
    if not isinstance(tree, dict):
        return {} if tree is None and "." not in path else {path: str(tree)}
    found: dict[str, str] = {}
    for key, value in tree.items():
        found |= values_of(value, f"{path}.{key}")
    return found


def source_digests(folder: Path) -> dict[str, str]:
    """A digest of each Python file of a package: uncommitted changes count too, and no git is needed."""
    return {
        path.relative_to(folder.parent).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        for path in sorted(folder.rglob("*.py"))
    }


def agree(place: Place, mine: Facts, seconds: float = 120) -> None:
    """Compare the facts of all processes; to be called by all of them, once, after they have met.

    Raises:
        Common: in every process, naming those that differ and in what.
    """
    if place.count == 1:
        return
    client = distributed.global_state.client
    assert client is not None, "agree() needs processes that have met"
    milliseconds = round(1000 * seconds)
    record = {"host": socket.gethostname(), "facts": mine}
    client.key_value_set(f"{_PREFIX}/{place.index}", msgspec.json.encode(record).decode(), allow_overwrite=True)
    if place.index == 0:
        keys = [f"{_PREFIX}/{index}" for index in range(place.count)]
        records = [msgspec.json.decode(client.blocking_key_value_get(key, milliseconds)) for key in keys]
        client.key_value_set(f"{_PREFIX}/verdict", verdict(records) or "same", allow_overwrite=True)
    said = client.blocking_key_value_get(f"{_PREFIX}/verdict", milliseconds)
    if said != "same":
        raise Common(said)


def verdict(records: Sequence[Mapping[str, Any]]) -> str:
    """A sentence that names each process which differs from what most have, and in what; empty if none does.

    Args:
        records: of each process by its index, "host" and "facts".
    """
    names = dict.fromkeys(name for record in records for name in record["facts"])
    differ: dict[int, list[str]] = {}
    for name in names:
        values = [record["facts"].get(name, "(absent)") for record in records]
        usual = Counter(values).most_common(1)[0][0]  # the first process' where they are even
        for index, value in enumerate(values):
            if value != usual:
                differ.setdefault(index, []).append(f"{name}: got {_short(value)}, expected {_short(usual)}")
    return "; ".join(_difference(index, records[index]["host"], found) for index, found in differ.items())


def _difference(index: int, host: str, found: Sequence[str]) -> str:
    more = f", and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return f"process {index} on {host} differs from the others in " + ", ".join(found[:_SHOWN]) + more


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "(absent)"


def _short(text: str) -> str:
    return text if len(text) <= _WORD else text[: _WORD - 1] + "…"
