"""Parts of a replica's life that touch the machine: cores, logs, the book, strays, figures."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pnol_jax.errors import InputError
from serving.fleet.identity import Identity
from serving.fleet.replicas import figures
from serving.fleet.replicas.asking import get
from serving.fleet.replicas.book import FILE, Book, Bounds, Lock, Release, read_book, write_book
from serving.fleet.replicas.cores import choose, move, spread
from serving.fleet.replicas.life import Replica
from serving.fleet.replicas.logs import last_line, older, rotate
from serving.fleet.replicas.spawn import command, end_strays, spawn
from serving.settings import read_settings
from tests.processes import until


def test_cores_are_those_that_the_fewest_have() -> None:
    assert choose((0, 1, 2, 3), 1, []) == (0,)
    assert choose((0, 1, 2, 3), 2, [(0, 1), (2,)]) == (0, 3)  # 3 has none, the others one each
    assert choose((0, 1), 1, [(0,), (1,), (0,)]) == (1,)
    assert choose((4, 7), 0, []) == choose((4, 7), 2, []) == choose((4, 7), 5, []) == (4, 7)


@pytest.mark.parametrize("seed", range(50))
def test_replicas_are_spread_evenly_and_nobody_moves_without_need(seed: int) -> None:
    chance = random.Random(seed)
    available, held = tuple(range(4)), [(f"r{n}", (chance.randrange(4),)) for n in range(chance.randrange(1, 9))]
    moves = spread(available, 1, held)
    after = [(name, moves.get(name, cores)) for name, cores in held]
    loads = [sum(cores == (core,) for _, cores in after) for core in available]
    assert max(loads) - min(loads) <= 1
    assert not spread(available, 1, after)


def test_a_running_process_is_moved_with_all_its_threads() -> None:
    cores = sorted(os.sched_getaffinity(0))
    code = "import threading,time; [threading.Thread(target=time.sleep,args=(60,)).start() for _ in range(3)]; print(1)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout
            process.stdout.readline()
            move(process.pid, cores[-1:])
            threads = os.listdir(f"/proc/{process.pid}/task")
            assert len(threads) == 4
            assert all(os.sched_getaffinity(int(thread)) == {cores[-1]} for thread in threads)
        finally:
            process.kill()
    move(process.pid, cores)  # it has ended: nothing happens
    before = os.sched_getaffinity(0)
    move(os.getpid(), [4095])  # a core that this machine does not have: it keeps to those that it has
    assert os.sched_getaffinity(0) == before


def test_a_command_is_read_back_as_the_settings_that_it_was_made_of(tmp_path: Path) -> None:
    given = {"models": str(tmp_path), "batch_sizes": [1, 2], "tokens": "", "abstain_from": 0.5, "poll_seconds": 0}
    settings = read_settings(command(given, 1234, None)[3:], {})
    assert (settings.port, settings.batch_sizes, settings.abstain_from) == (1234, (1, 2), 0.5)
    assert settings.agent_port is None


def test_one_that_is_spawned_is_apart_pinned_and_writes_to_its_log(tmp_path: Path) -> None:
    core = sorted(os.sched_getaffinity(0))[-1]
    code = "import os,time; print(os.environ['MINE'], sorted(os.sched_getaffinity(0)), flush=True); time.sleep(60)"
    before = os.sched_getaffinity(0)
    identity, process = spawn("r1", [sys.executable, "-c", code], tmp_path, [core], {"MINE": "yes"})
    try:
        assert identity == Identity.of(process.pid)
        assert os.getsid(process.pid) == process.pid
        until(lambda: last_line(tmp_path / "r1.log") == f"yes [{core}]")
        assert os.sched_getaffinity(0) == before
        assert end_strays(tmp_path, {process.pid}) == 0  # it is known
        assert end_strays(tmp_path / "other", set()) == 0  # it is another fleet's
        assert end_strays(tmp_path, set()) == 1
        assert process.wait(30) == -signal.SIGTERM
    finally:
        process.kill()


def test_a_log_that_is_too_large_is_begun_anew_while_it_is_written(tmp_path: Path) -> None:
    log = tmp_path / "r1.log"
    writer = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    assert not rotate(log, 10, 2)
    for age in (b"first", b"second", b"third"):
        os.write(writer, age * 4)
        assert rotate(log, 10, 2)
    os.write(writer, b"now")
    os.close(writer)
    assert log.read_bytes() == b"now"
    assert older(log, 1).read_bytes() == b"third" * 4
    assert older(log, 2).read_bytes() == b"second" * 4
    assert not older(log, 3).exists()


def test_the_book_is_read_as_it_was_written_and_a_broken_one_is_none(tmp_path: Path) -> None:
    replica = Replica("r7", 8000, Identity(1, 2), 3, 1.5, (0, 1), ready_at=2.5, serving=True)
    book = Book(Release(3, {"models": "m", "batch_sizes": [1]}), Release(2, {}), (replica,), 7, 2, Bounds(fixed=2))
    assert read_book(tmp_path) is None
    write_book(tmp_path, book)
    assert read_book(tmp_path) == book
    (tmp_path / FILE).write_text('{"release": ')
    assert read_book(tmp_path) is None


def test_a_folder_has_one_supervisor(tmp_path: Path) -> None:
    lock = Lock(tmp_path)
    with pytest.raises(InputError, match="another supervisor"):
        Lock(tmp_path)
    lock.release()
    Lock(tmp_path).release()


METRICS = """# HELP pnol_requests Requests answered.
pnol_requests_total{{endpoint="/predict",status="200"}} {ok}
pnol_requests_total{{endpoint="/v2/models/{{name}}/infer",status="503"}} {refused}
pnol_requests_total{{endpoint="/health",status="200"}} 1000.0
pnol_request_seconds_bucket{{endpoint="/predict",le="0.01"}} {fast}
pnol_request_seconds_bucket{{endpoint="/predict",le="0.1"}} {ok}
pnol_request_seconds_bucket{{endpoint="/predict",le="+Inf"}} {ok}
pnol_request_seconds_sum{{endpoint="/predict"}} {seconds}
pnol_request_seconds_sum{{endpoint="/health"}} 99
pnol_engine_busy_seconds_total {busy}
pnol_engine_waiting_seconds 0.25
pnol_workers 1.0
process_resident_memory_bytes{{worker="0"}} 1e+06
"""


def test_figures_are_what_was_done_between_two_readings() -> None:
    before = figures.read(10.0, METRICS.format(ok=100, refused=5, fast=90, seconds=1.0, busy=3.0))
    after = figures.read(12.0, METRICS.format(ok=200, refused=11, fast=140, seconds=3.0, busy=4.0))
    found = figures.between(before, after)
    assert found.requests_per_second == 53.0
    assert found.failures_per_second == 3.0
    assert found.refused_per_second == 3.0
    assert found.utilisation == 0.5
    assert found.seconds == pytest.approx(2.0 / 106)
    assert found.p99_seconds == pytest.approx(0.01 + 0.09 * 49 / 50)  # 50 within 10 ms, 50 more within 100
    assert (found.waiting_seconds, found.resident_bytes) == (0.25, 1e6)
    idle = figures.between(after, after)
    assert (idle.seconds, idle.p99_seconds, idle.requests_per_second) == (None, None, 0.0)


def test_a_text_that_was_cut_is_refused() -> None:
    text = METRICS.format(ok=100, refused=5, fast=90, seconds=1.0, busy=3.0)
    with pytest.raises((ValueError, KeyError)):
        figures.read(10.0, text[: text.index("1e+06") + 2])


def test_a_quantile_beyond_the_last_bound_is_that_bound() -> None:
    assert figures.quantile({1.0: 5.0, float("inf"): 10.0}, 0.99) == 1.0
    assert figures.quantile({1.0: 10.0, float("inf"): 10.0}, 0.5) == pytest.approx(0.5)
    assert figures.quantile({}, 0.5) is None


def test_an_answer_that_does_not_come_is_given_up_and_one_that_is_no_http_refused() -> None:
    async def served(answer: bytes | None) -> None:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            if answer is not None:
                writer.write(answer)
                writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        if answer == b"HTTP/1.0 503 no\r\na: b\r\n\r\nbody":
            assert await get("127.0.0.1", port, "/", 5) == (503, b"body")
        else:
            with pytest.raises(TimeoutError if answer is None else ValueError):
                await get("127.0.0.1", port, "/", 0.1 if answer is None else 5)
        server.close()
        with pytest.raises(ConnectionRefusedError):
            await get("127.0.0.1", port, "/", 5)

    for answer in (None, b"220 mail\r\n", b"HTTP/1.0 503 no\r\na: b\r\n\r\nbody"):
        asyncio.run(served(answer))
