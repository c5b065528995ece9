"""The tutorials run as they are written: every block, in order, in an empty folder."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
TITLE = re.compile(r'title="([^"]+)"')
PORT = re.compile(r"--port (\d+)")
pytestmark = pytest.mark.slow


def environment() -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": f"{ROOT}{os.pathsep}."}


@contextmanager
def behind(command: str, folder: Path) -> Iterator[None]:
    """A service that is left to run until the tutorial has ended."""
    log = folder / "service.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"], cwd=folder, env=environment(), stdout=output, stderr=output
        )
    try:
        port, deadline = PORT.search(command), time.monotonic() + 120
        assert port
        while not answers(int(port[1])):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
    except httpx.TransportError:
        return False


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=600)


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial_runs_from_an_empty_folder(page: Path, tmp_path: Path) -> None:
    with ExitStack() as services:
        for kind, words, text in BLOCK.findall(page.read_text(encoding="utf-8")):
            title = TITLE.search(words)
            if title:
                (tmp_path / title[1]).write_text(text)
            elif kind == "sh" and "background" in words:
                services.enter_context(behind(text.strip(), tmp_path))
            else:
                assert kind in ("sh", "python"), f"a block of {kind} without a title"
                done = run(["bash", "-ec", text] if kind == "sh" else [sys.executable, "-c", text], tmp_path)
                assert (done.returncode != 0) == ("fails" in words), f"{text}\n{done.stdout}\n{done.stderr}"
                assert "Traceback" not in done.stderr, done.stderr
