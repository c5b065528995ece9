"""Two real processes on the loopback interface: they meet, compute together, disagree, wait and leave."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pnol_jax.errors import InputError
from pnol_jax.ports import free_port
from pnol_jax.sharding import agreement
from pnol_jax.sharding.heartbeat import Beat, Heartbeat, heartbeat_file, read_beat

BEGIN = """
import sys
from pnol_jax.sharding import processes
from pnol_jax.sharding.agreement import agree, facts
"""


def _begin(script: str, index: int, port: int, **more: str) -> subprocess.Popen[str]:
    own = {"PNOL_PROCESS": str(index), "PNOL_PROCESSES": "2", "PNOL_COORDINATOR": f"127.0.0.1:{port}"}
    return subprocess.Popen(
        [sys.executable, "-c", BEGIN + script],
        env=os.environ | own | {"JAX_PLATFORMS": "cpu"} | more,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _both(script: str) -> list[tuple[int, str, str]]:
    """Run a script as processes 0 and 1; of each the status, the output and the errors."""
    port = free_port()
    running = [_begin(script, index, port) for index in range(2)]
    outputs = []
    for process in running:
        try:
            outputs.append(process.communicate(timeout=120))
        finally:
            process.kill()
    return [(process.returncode, *output) for process, output in zip(running, outputs, strict=True)]


def test_processes_meet_compute_together_and_leave() -> None:
    results = _both("""
with processes.together() as place:
    assert processes.start() == place  # again: nothing happens
    agree(place, facts({"name": "same"}))
    import jax, jax.numpy as jnp
    from jax.experimental import multihost_utils
    print(place.index, place.count, place.found, multihost_utils.process_allgather(jnp.float32(place.index)).sum())
    processes.barrier("twice", 60), processes.barrier("twice", 60)
""")
    assert [status for status, _, _ in results] == [0, 0], results
    said = [output.splitlines()[-1].split() for _, output, _ in results]
    assert said == [["0", "2", "launch", "1.0"], ["1", "2", "launch", "1.0"]]


def test_a_process_that_differs_is_named_in_all_of_them_with_what_differs() -> None:
    results = _both("""
with processes.together() as place:
    agree(place, facts({"training": {"steps": 100 + place.index, "seed": 0}}))
""")
    for status, _, errors in results:
        assert status == 2
        assert re.search(
            r"^error: process 1 on \S+ differs .* config.training.steps: got 101, expected 100$", errors, re.M
        )


def test_who_does_not_come_to_a_barrier_is_named() -> None:
    (_, output, _), _ = _both("""
import time
with processes.together() as place:
    try:
        processes.barrier("save", 1) if place.index == 0 else time.sleep(3)
    except processes.Missing as missing:
        print(missing)
""")
    assert "barrier 'save': process 1 did not come within 1 s" in output


def test_a_process_that_fails_does_not_wait_for_the_others() -> None:
    (status, _, _), (failed, _, errors) = _both("""
with processes.together() as place:
    processes.barrier("begin", 60)
    if place.index == 1:
        raise processes.InputError("process 1 read a wrong file")
""")
    assert failed == 2
    assert "error: process 1 read a wrong file" in errors
    assert status not in (0, 2)  # it waited at the end for process 1, and learned that it is gone


def test_nobody_to_meet_is_said_with_the_address() -> None:
    port = free_port()
    lonely = _begin("with processes.together(start_seconds=2): pass", 1, port)
    _, errors = lonely.communicate(timeout=120)
    assert lonely.returncode != 0
    assert f"process 1 of 2 (launch) has not met the others at 127.0.0.1:{port} within 2 s" in errors


@pytest.mark.parametrize("end", ["signal", "stacks", "gone"])
def test_a_process_hangs_on_its_lifeline(end: str) -> None:
    script = """
import signal, time
def leave(*_): print("told", flush=True); sys.exit(75)
def stand_still():
    print("here", flush=True)
    while True: time.sleep(0.05)
signal.signal(signal.SIGTERM, leave)
processes.start()
stand_still()
"""
    process = _begin(script, 0, 1, PNOL_PROCESSES="1", PNOL_LIFELINE="1")
    assert process.stdin
    assert process.stdout
    assert process.stdout.readline() == "here\n"
    if end == "stacks":
        process.stdin.write(f"{int(signal.SIGUSR2)}\n")
        process.stdin.flush()
    if end == "signal":
        process.stdin.write(f"{int(signal.SIGTERM)}\n")
        process.stdin.flush()
        assert process.stdout.readline() == "told\n"
        assert process.wait(60) == 75
        return
    if end == "stacks":
        assert process.stderr
        said = ""
        while "in <module>" not in said:
            said += process.stderr.readline()
        assert "in stand_still" in said
    process.stdin.close()
    assert process.wait(60) == -signal.SIGKILL


def test_most_decide_what_is_expected() -> None:
    def record(host: str, **different: str) -> dict[str, object]:
        return {"host": host, "facts": {"jax": "0.10.2", "a.py": "1f", **different}}

    assert agreement.verdict([record("a"), record("b"), record("c")]) == ""
    said = agreement.verdict([record("a", jax="0.10.1"), record("b"), record("c", new="x")])
    assert "process 0 on a differs from the others in jax: got 0.10.1, expected 0.10.2" in said
    assert "process 2 on c differs from the others in new: got x, expected (absent)" in said
    assert "process 1" not in said


def test_a_long_list_of_differences_is_cut() -> None:
    first = {"host": "a", "facts": {f"key{i}": "1" for i in range(9)}}
    other = {"host": "b", "facts": {f"key{i}": "2" for i in range(9)}}
    said = agreement.verdict([first, other])
    assert said.count("expected") == 3
    assert said.endswith("and 6 more")


def test_a_changed_source_file_changes_its_digest_alone(tmp_path: Path) -> None:
    package = tmp_path / "package"
    (package / "inner").mkdir(parents=True)
    for name in ("a.py", "inner/b.py"):
        (package / name).write_text("x = 1\n")
    before = agreement.source_digests(package)
    assert list(before) == ["package/a.py", "package/inner/b.py"]
    (package / "inner/b.py").write_text("x = 2\n")
    after = agreement.source_digests(package)
    assert after["package/a.py"] == before["package/a.py"]
    assert after["package/inner/b.py"] != before["package/inner/b.py"]


def test_facts_name_every_value_of_a_config_and_the_versions() -> None:
    found = agreement.facts({"training": {"steps": 3, "buckets": [[1, 2]]}, "name": "x"})
    assert found["config.training.steps"] == "3"
    assert found["config.training.buckets"] == "[[1, 2]]"
    assert found["jax"] == __import__("jax").__version__
    assert "pnol_jax/sharding/agreement.py" in found


def test_one_process_agrees_with_itself() -> None:
    agreement.agree(agreement.Place(), {})


def test_beats_are_read_back_and_the_last_one_says_so(tmp_path: Path) -> None:
    path = heartbeat_file(tmp_path, 0)
    assert read_beat(path) is None
    with Heartbeat(tmp_path, 0) as heart:
        for step in (9, 10, 1_000_000_000, 11):
            heart.beat(step)
        assert read_beat(path) == Beat(os.getpid(), 4, 11)
    assert read_beat(path) == Beat(os.getpid(), 5, 11, over=True)
    Heartbeat(tmp_path, 0).close()
    assert read_beat(path) == Beat(os.getpid(), 1, None, over=True)
    path.write_bytes(b"[1,")
    assert read_beat(path) is None


def test_a_wrong_index_is_refused_before_anything_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    from pnol_jax.sharding import processes

    monkeypatch.setenv("PNOL_PROCESS", "7")
    monkeypatch.setenv("PNOL_PROCESSES", "2")
    with pytest.raises(InputError, match="got index 7 of 2"):
        processes.start()
