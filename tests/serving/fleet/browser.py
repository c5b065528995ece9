"""Chromium, steered by Playwright in an environment of its own."""

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benchmarks.child import ROOT
from benchmarks.peers import python_of

SCRIPT = ROOT / "benchmarks" / "peer_scripts" / "playwright_page.py"


@dataclass
class Browser:
    """A page that is open; `shots`: where pictures of it go, if anywhere."""

    process: subprocess.Popen[str]
    shots: Path | None

    def do(self, **said: object) -> dict[str, Any]:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(said) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"the browser ended at {said}"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def value(self, expression: str) -> Any:
        return self.do(value=expression)["value"]

    def wait(self, expression: str) -> None:
        self.do(wait=expression)

    def overflow(self, name: str, scheme: str, width: int) -> int:
        """Pixels by which the page is wider than a window of this width; a picture of it goes to `shots`."""
        place = self.shots / f"{name}_{scheme}_{width}.png" if self.shots else Path(os.devnull)
        said = {"shot": str(place), "scheme": scheme, "width": width}
        return int(self.do(**said, value="document.documentElement.scrollWidth - innerWidth")["value"])

    def errors(self) -> list[str]:
        found: list[str] = self.do()["errors"]
        return found


@contextlib.contextmanager
def opened(url: str) -> Iterator[Browser]:
    """The page of a URL, in a browser that ends with the context; skipped where there is none.

    PNOL_SHOTS names a folder for pictures of what was seen.
    """
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    try:
        python = python_of("playwright")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"playwright cannot be installed: {error}")
    shots = os.environ.get("PNOL_SHOTS")
    command = [python, SCRIPT, chromium, url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Browser(process, Path(shots) if shots else None)
