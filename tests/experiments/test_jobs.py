"""Many jobs at once: order, retries, failures, workers that die, what each worker is given, refusals."""

import argparse
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments.jobs import Outcome, Pool, PoolConfig, add_flags, from_flags, open_pool
from experiments.jobs.cluster import Cluster
from experiments.jobs.slots import deal_cores, deal_devices
from pnol_jax.errors import InputError

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
OF_THIS_PROCESS: list[int] = []  # what a fresh process does not have, and a forked one would
MEMORY = 500 * 2**20


def double(x: int) -> int:
    if x < 0:
        raise ValueError(f"got {x}, expected 0 or more")
    return 2 * x


def once_more(marks: str, times: int) -> int:
    """Fails so many times, and counts its calls in a file."""
    with open(marks, "a") as file:
        file.write("x")
    calls = len(Path(marks).read_text())
    if calls <= times:
        raise ValueError("not yet")
    return calls


def die(marks: str, times: int) -> int:
    """Kills its process so many times, and counts its calls in a file."""
    with open(marks, "a") as file:
        file.write("x")
    if len(Path(marks).read_text()) <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return len(Path(marks).read_text())


def take_memory(count: int) -> int:
    block = bytearray(count)
    time.sleep(30)
    return len(block)


def meet(folder: str, name: str, others: int) -> bool:
    """Whether so many others run at the same time."""
    Path(folder, name).touch()
    deadline = time.monotonic() + 60
    while len(os.listdir(folder)) <= others and time.monotonic() < deadline:
        time.sleep(0.01)
    return len(os.listdir(folder)) > others


def look(_: object) -> dict[str, object]:
    """What a worker finds."""
    import jax

    return {
        "pid": os.getpid(),
        "cores": sorted(os.sched_getaffinity(0)),
        "all cores": sorted(
            {core for task in os.listdir("/proc/self/task") for core in os.sched_getaffinity(int(task))}
        ),
        "devices": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "threads": os.environ["OMP_NUM_THREADS"],
        "asynchronous": jax.config.read("jax_cpu_enable_async_dispatch"),
        "forked": bool(OF_THIS_PROCESS),
        "arenas": os.environ["MALLOC_ARENA_MAX"],
    }


@pytest.fixture(scope="module")
def local() -> Iterator[Pool]:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("two workers need two cores")
    OF_THIS_PROCESS.append(os.getpid())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
        settings = PoolConfig("local", workers=2, memory=f"{MEMORY}B", devices=1, deaths=2)
        before = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "__"))}
        with open_pool(settings) as pool:
            yield pool
        assert {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "__"))} == before


def outcomes(pool: Pool) -> dict[str, Outcome]:
    return {outcome.name: outcome for outcome in pool.completed()}


def test_in_this_process_the_highest_priority_is_first_and_the_first_of_equals() -> None:
    with open_pool(PoolConfig()) as pool:
        for name, priority in (("a", 0), ("b", 1), ("c", 0), ("d", 1), ("e", -1)):
            pool.submit(double, 1, name=name, priority=priority)
        assert [outcome.name for outcome in pool.completed()] == ["b", "d", "a", "c", "e"]


def test_where_there_is_no_terminal_a_line_a_minute_says_how_far_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.jobs.pool.EVERY", 0.05)
    with open_pool(PoolConfig(), "shards") as pool:
        for _ in pool.map(time.sleep, {"quick": 0.0, "slow": 1.0}):  # also while a single task takes long
            pass
    assert "shards: 1 of 2 done, 0 failed" in capsys.readouterr().err.splitlines()


@pytest.mark.parametrize("place", ["here", "local"])
def test_a_task_that_fails_is_named_and_the_others_go_on(
    place: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    def check(pool: Pool) -> None:
        before = len(pool.failed)
        found = {outcome.name: outcome for outcome in pool.map(double, {"one": 1, "wrong": -1, "two": 2})}
        assert (found["one"].value, found["two"].value) == (2, 4)
        assert isinstance(found["wrong"].error, ValueError)
        assert [outcome.name for outcome in pool.failed[before:]] == ["wrong"]

    if place == "here":
        with open_pool(PoolConfig()) as pool:
            check(pool)
        shown = capsys.readouterr().err
        assert "wrong: ValueError: got -1, expected 0 or more" in shown
        assert "1 of 3 tasks failed: wrong" in shown
    else:
        check(request.getfixturevalue("local"))


@pytest.mark.parametrize("place", ["here", "local"])
def test_a_task_is_tried_as_often_as_it_may_be(place: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    def check(pool: Pool) -> None:
        pool.submit(once_more, str(tmp_path / "enough"), 2, name="enough", retries=2)
        pool.submit(once_more, str(tmp_path / "too few"), 2, name="too few", retries=1)
        found = outcomes(pool)
        assert found["enough"].value == 3
        assert isinstance(found["too few"].error, ValueError)

    if place == "here":
        with open_pool(PoolConfig()) as pool:
            check(pool)
    else:
        check(request.getfixturevalue("local"))


def test_tasks_can_be_submitted_while_outcomes_come(local: Pool) -> None:
    local.submit(double, 1, name="1")
    values = []
    for outcome in local.completed():
        values.append(outcome.value)
        if outcome.value < 16:
            local.submit(double, outcome.value, name=str(outcome.value))
    assert values == [2, 4, 8, 16]


def test_a_name_is_one_task_at_a_time(local: Pool) -> None:
    local.submit(double, 1, name="same")
    with pytest.raises(ValueError, match="'same'"):
        local.submit(double, 2, name="same")
    assert [outcome.value for outcome in local.completed()] == [2]


def test_workers_are_fresh_processes_with_cores_devices_and_settings_of_their_own(local: Pool, tmp_path: Path) -> None:
    for name in ("a", "b"):  # both at once, so that each worker has one
        local.submit(meet, str(tmp_path), name, 1, name=name)
    assert all(outcome.value for outcome in local.completed())
    found = [outcome.value for outcome in local.map(look, {str(number): None for number in range(8)})]
    of_worker = {worker["pid"]: worker for worker in found}
    assert len(of_worker) == 2
    assert os.getpid() not in of_worker
    cores = [worker["cores"] for worker in of_worker.values()]
    assert sorted(cores) == [[core] for core in sorted(os.sched_getaffinity(0))[:2]]
    assert cores == [worker["all cores"] for worker in of_worker.values()]
    assert sorted(worker["devices"] for worker in of_worker.values()) == ["5", "7"]
    for worker in of_worker.values():
        assert not worker["forked"]
        assert not worker["asynchronous"]
        assert (worker["threads"], worker["arenas"]) == ("1", "1")


def test_an_interrupt_before_an_answer_is_begun_says_nothing(local: Pool, caplog: pytest.LogCaptureFixture) -> None:
    assert isinstance(local, Cluster)
    local._client.loop.add_callback(time.sleep, 2)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            local._client.sync(local._client.scheduler.identity)
    finally:
        signal.signal(signal.SIGINT, before)
    time.sleep(2)
    assert caplog.messages == []


def test_a_task_whose_worker_dies_runs_again(local: Pool, tmp_path: Path) -> None:
    local.submit(die, str(tmp_path / "marks"), 1, name="dies once")
    for number in range(6):
        local.submit(double, number, name=str(number))
    found = outcomes(local)
    assert found["dies once"].value == 2
    assert [found[str(number)].value for number in range(6)] == [0, 2, 4, 6, 8, 10]


def test_a_task_that_kills_every_worker_is_given_up(local: Pool, tmp_path: Path) -> None:
    local.submit(die, str(tmp_path / "marks"), 100, name="deadly")
    local.submit(double, 1, name="harmless")
    found = outcomes(local)
    assert "2 workers died at it" in str(found["deadly"].error)
    assert len((tmp_path / "marks").read_text()) == 2
    assert found["harmless"].value == 2


def test_a_worker_keeps_to_its_memory(local: Pool) -> None:
    local.submit(take_memory, 2 * MEMORY, name="greedy")
    (found,) = local.completed()
    assert f"the memory of each was {MEMORY}B" in str(found.error)


def test_the_same_on_a_scheduler_that_runs_already(capsys: pytest.CaptureFixture[str]) -> None:
    from distributed import LocalCluster

    with LocalCluster(host="127.0.0.1", n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster:
        settings = PoolConfig(cluster.scheduler_address, dashboard=True)
        with open_pool(settings) as one, open_pool(settings) as other:  # names are each pool's own
            one.submit(double, 1, name="task")
            other.submit(double, 2, name="task")
            assert [outcome.value for outcome in one.completed()] == [2]
            assert [outcome.value for outcome in other.completed()] == [4]
        (link, _) = re.findall(r"dashboard: (http://127\.0\.0\.1:\d+/status)", capsys.readouterr().err)
        with urllib.request.urlopen(link, timeout=30) as page:
            assert b"Dask" in page.read()


def test_sigterm_ends_a_pool_as_ctrl_c_does() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), open_pool(PoolConfig()) as pool:
        list(pool.map(signal.raise_signal, {"stop": signal.SIGTERM}))
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (PoolConfig("local", workers=10**4), r"workers \(--workers\): got 10000 with 1 cores each"),
        (PoolConfig("local", devices=10**4), r"with 10000 GPUs each \(--devices\), expected at most the \d+ GPUs"),
        (PoolConfig("local", memory="10000TiB"), r"memory \(--memory\): got 10000TiB for each of 1 workers"),
        (PoolConfig("local", memory="much"), r"memory \(--memory\): got 'much', expected a size such as 4GiB"),
        (PoolConfig("slurm"), r"memory \(--memory\): got none"),
        (PoolConfig("slurm", memory="1GiB"), "there is no sbatch"),
        (PoolConfig("tcp://127.0.0.1:1"), "no scheduler answers at tcp://127.0.0.1:1"),
        (PoolConfig("nonsense://x"), "no scheduler answers at nonsense://x"),
    ],
)
def test_what_cannot_be_had_is_refused(settings: PoolConfig, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("experiments.jobs.cluster.CONNECT_SECONDS", 1)
    environment = dict(os.environ)
    with pytest.raises(InputError, match=message), open_pool(settings):
        pass
    assert dict(os.environ) == environment


def test_slots_are_dealt_out_without_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 1, 8, 9, 11})
    assert deal_cores(PoolConfig("local", workers=2, threads=2)) == [[1, 3], [8, 9]]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b,GPU-c")
    assert deal_devices(PoolConfig("local", workers=3, devices=1)) == [["GPU-a"], ["GPU-b"], ["GPU-c"]]


WITHOUT_THE_EXTRA = """
import sys
sys.modules.update(dict.fromkeys(("dask", "distributed", "dask_jobqueue", "bokeh")))
from experiments.jobs import PoolConfig, open_pool
with open_pool(PoolConfig()) as pool:
    print([outcome.value for outcome in pool.map(abs, {"a": -1})])
try:
    with open_pool(PoolConfig(workers=2)):
        pass
except ValueError as error:
    print(error)
"""


def test_without_the_extra_its_name_is_said_and_one_process_does_without() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_THE_EXTRA], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["[1]", "several workers need dask: pip install 'pnol-jax[jobs]'"]


def parsed(*words: str) -> PoolConfig:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    return from_flags(parser.parse_args(words))


def test_flags_override_the_file_and_both_are_checked(tmp_path: Path) -> None:
    file = tmp_path / "jobs.toml"
    file.write_text('where = "slurm"\nworkers = 8\nmemory = "4GiB"\n[slurm]\npartition = "gpu"\ntime = "02:00:00"\n')
    settings = parsed("--jobs", str(file), "--workers", "3", "--account", "me")
    assert (settings.place, settings.workers, settings.memory) == ("slurm", 3, "4GiB")
    assert (settings.slurm.partition, settings.slurm.time, settings.slurm.account) == ("gpu", "02:00:00", "me")
    assert (parsed().place, parsed("--workers", "2").place, parsed("--memory", "1GiB").place) == (
        "here",
        "local",
        "local",
    )
    for words, message in (
        (["--workers", "0"], "workers"),
        (["--where", "cloud"], "where: got 'cloud', expected one of"),
        (["--where", "here", "--workers", "2"], "workers: got 2 with where = 'here'"),
    ):
        with pytest.raises(InputError, match=message):
            parsed(*words)
    file.write_text("worker = 2\n")
    with pytest.raises(InputError, match="unknown key 'worker'; did you mean 'workers'"):
        parsed("--jobs", str(file))
