"""A process is known for good, whatever becomes of its number."""

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from serving.fleet.identity import Identity


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def test_one_that_stands_still_is_alive_and_one_that_ended_is_not(process: subprocess.Popen[bytes]) -> None:
    identity = Identity.of(process.pid)
    assert identity is not None
    assert identity.alive()
    assert identity.signal(signal.SIGSTOP)
    assert identity.alive()
    assert identity.signal(signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and nobody has taken notice
    assert not identity.alive()
    assert Identity.of(process.pid) is None
    process.wait()
    assert not identity.alive()
    assert not identity.signal(signal.SIGTERM)


def test_another_process_with_the_number_is_never_signalled(process: subprocess.Popen[bytes]) -> None:
    identity = Identity.of(process.pid)
    assert identity is not None
    before = Identity(process.pid, identity.started - 1)
    assert not before.alive()
    assert not before.signal(signal.SIGKILL)
    assert identity.alive()


def test_a_name_with_spaces_and_brackets_is_read() -> None:
    with subprocess.Popen(
        ["bash", "-c", "printf ') R 1' > /proc/self/comm; echo; read"], stdin=-1, stdout=-1
    ) as process:
        assert process.stdout
        process.stdout.readline()
        identity = Identity.of(process.pid)
        assert identity is not None
        assert identity.alive()
        process.communicate(b"\n")
    assert not identity.alive()


def test_an_end_is_waited_for_and_no_longer_than_asked(process: subprocess.Popen[bytes]) -> None:
    identity = Identity.of(process.pid)
    assert identity is not None
    assert not identity.wait(0.05)
    identity.signal(signal.SIGKILL)
    assert identity.wait(20)  # before its parent has taken notice
    process.wait()
    assert identity.wait(20)
