"""Load on an HTTP server by wrk: so many connections, each with one request under way, for so many seconds."""

import itertools
import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pnol_jax.errors import InputError

SCRIPT = Path(__file__).parent / "peer_scripts" / "load.lua"
TIMEOUT = "60s"  # for a slow server's answer to one of many connections
MARK = b"@@@@"  # in whose place each request has a number of its own
Kind = Literal["float", "text", "same"]
_starts = itertools.count(1)


@dataclass(frozen=True)
class Load:
    """What came of it. `failed`: requests that were not answered with a status below 400."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    failed: int

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


def write_request(file: Path, path: str, headers: Mapping[str, str], body: bytes) -> Path:
    """What the script reads; the body holds MARK once."""
    lines = [f"{name}: {value}" for name, value in {":path": path, **headers}.items()]
    file.write_bytes("\n".join([*lines, "", ""]).encode() + body)
    return file


def load(port: int, requests: Sequence[Path], kind: Kind, connections: int, seconds: float) -> Load:
    """Ask a server on this machine.

    Raises:
        InputError: there is no wrk, or a request failed.
    """
    if shutil.which("wrk") is None:
        raise InputError("no wrk on this machine, expected it (Debian: apt-get install wrk)")
    start = str(next(_starts) * 131_071 % 4_194_304)
    command = ["wrk", "-t", "1", "-c", str(connections), "-d", f"{max(1, round(seconds))}s", "--timeout", TIMEOUT]
    command += ["-s", str(SCRIPT)]
    command += [f"http://127.0.0.1:{port}", "--", start, kind, *map(str, requests)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = Load(**json.loads(done.stdout.splitlines()[-1]))
    if found.failed:
        raise InputError(f"port {port}: {found.failed} of {found.requests} requests failed: {done.stdout}")
    return found
