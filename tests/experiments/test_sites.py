"""Where workers are started, with the real programs where this machine has them: sshd on the loopback, mpirun."""

import getpass
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments.supervision import nodes
from experiments.supervision.events import read_events
from experiments.supervision.machine import Policy
from experiments.supervision.sites import Allocation, Hosts, Local, Pod, Site, log_file
from experiments.supervision.supervise import supervise
from experiments.supervision.workers import Client
from pnol_jax.errors import InputError
from pnol_jax.ports import free_port
from tests.processes import until

STAND_IN = str(Path(__file__).with_name("stand_in.py"))
SSHD = shutil.which("sshd") or "/usr/sbin/sshd"
POLICY = Policy(first_delay=0.05, grace=2, hang=1, begin=30, stacks=0.5)

needs_sshd = pytest.mark.skipif(
    not (Path(SSHD).exists() and shutil.which("ssh")), reason="needs sshd (Debian: openssh-server)"
)
needs_mpirun = pytest.mark.skipif(not shutil.which("mpirun"), reason="needs mpirun (Debian: openmpi-bin)")


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


@pytest.fixture
def ssh(tmp_path: Path) -> Iterator[list[str]]:
    """An SSH server of our own on the loopback interface; how it is reached. Host `down` is nowhere."""
    folder = tmp_path / "ssh"
    folder.mkdir(mode=0o700)
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)], check=True)
    shutil.copy(folder / "user.pub", folder / "allowed")
    port = free_port()
    server = f"HostKey {folder}/host\nAuthorizedKeysFile {folder}/allowed\nStrictModes no\nPidFile none\nUsePAM no\n"
    (folder / "sshd").write_text(f"{server}ListenAddress 127.0.0.1:{port}\nPermitUserEnvironment no\n")
    client = f"Host one two\n HostName 127.0.0.1\n Port {port}\nHost down\n HostName 127.0.0.1\n Port 1\n"
    own = f"Host *\n User {getpass.getuser()}\n IdentityFile {folder}/user\n IdentitiesOnly yes\n"
    trust = f" UserKnownHostsFile {folder}/known\n StrictHostKeyChecking accept-new\n LogLevel ERROR\n"
    (folder / "config").write_text(client + own + trust)
    Path("/run/sshd").mkdir(exist_ok=True)
    process = subprocess.Popen([SSHD, "-D", "-f", str(folder / "sshd"), "-E", str(folder / "log")])
    reach = ["ssh", "-F", str(folder / "config"), "-o", "BatchMode=yes", "-o", "ConnectTimeout=5"]
    try:
        until(lambda: not subprocess.run([*reach, "one", "true"], check=False, capture_output=True).returncode)
        yield reach
    finally:
        process.terminate()
        process.wait()


def _words(folder: Path, steps: int, *deeds: str) -> list[str]:
    # ssh carries no environment over; the folder of this command is the one that is imported from.
    path = f"PYTHONPATH={Path(__file__).parents[2]}"
    own = ["/usr/bin/env", path, sys.executable, STAND_IN, str(folder), str(steps)]
    return [*own, *(word for deed in deeds for word in ("--at", deed))]


def _run(site: Site, folder: Path, steps: int, *deeds: str) -> int:
    words = _words(folder, steps, *deeds)
    return supervise(site, lambda step: words if step is None else [*words, "--resume", str(step)], folder, POLICY)


@needs_sshd
def test_hosts_by_ssh_are_started_lost_and_started_again(ssh: list[str], run_dir: Path) -> None:
    # Both hang long after the one is killed: a slow machine may look for it late.
    assert _run(Hosts(["one", "two"], ssh=ssh), run_dir, 140, "13:1:kill", "120:0:hang", "120:1:hang") == 0
    names = [event["event"] for event in read_events(run_dir) if event["event"] != "stepping"]
    assert names == ["started", "lost", "waiting", "started", "hung", "waiting", "started", "finished"]
    for index in range(2):
        log = log_file(run_dir, index).read_text()
        assert f"process {index} of 2 begins at step 0" in log
        assert "in _stand_still" in log


@needs_sshd
def test_elastic_goes_on_with_the_hosts_that_answer(ssh: list[str], run_dir: Path) -> None:
    assert _run(Hosts(["down", "one"], minimum=1, ssh=ssh), run_dir, 10) == 0
    assert "process 0 of 1 begins" in log_file(run_dir, 0).read_text()
    assert read_events(run_dir)[1]["event"] == "lost"
    assert _run(Hosts(["down", "one"], minimum=2, ssh=ssh), run_dir, 10) == 1


@needs_sshd
def test_a_process_on_another_host_saves_when_it_is_told(ssh: list[str], run_dir: Path) -> None:
    [worker], _ = Hosts(["one"], ssh=ssh).start(_words(run_dir, 10**6), run_dir, ())
    until(lambda: (run_dir / "checkpoints").exists())
    worker.send(signal.SIGTERM)
    until(lambda: worker.status() is not None)
    assert worker.status() == 75
    assert "saved as asked" in log_file(run_dir, 0).read_text()


@needs_sshd
def test_a_process_on_another_host_ends_with_its_connection(ssh: list[str], run_dir: Path) -> None:
    [worker], _ = Hosts(["one"], ssh=ssh).start(_words(run_dir, 10**6), run_dir, ())
    until(lambda: (run_dir / "checkpoints").exists())
    assert f"{STAND_IN} {run_dir}" in _command_lines()
    worker.send(signal.SIGKILL)
    until(lambda: f"{STAND_IN} {run_dir}" not in _command_lines())
    worker.close()


@needs_mpirun
def test_ranks_of_mpirun_find_each_other_are_told_and_are_started_again(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMPI_MCA_oob_tcp_if_include", "lo")

    def command(words: list[str], using: list[str] | None, each: int) -> list[str]:
        return ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-n", str(each), *words]

    # A hang: SIGUSR2 reaches every rank, and all write where they stand to what mpirun says.
    assert _run(Allocation("mpi", command, None, 2), run_dir, 30, "13:0:hang", "13:1:hang") == 0
    log = (run_dir / "logs" / "mpi.log").read_text()
    assert "process 0 of 2 begins at step 0" in log
    assert "process 1 of 2 begins at step 0" in log
    assert log.count("in _stand_still") >= 1
    names = [event["event"] for event in read_events(run_dir) if event["event"] != "stepping"]
    assert names == ["started", "hung", "waiting", "started", "finished"]


@pytest.mark.slow
def test_a_wrong_input_of_one_process_counts_where_the_client_ends_the_others(run_dir: Path) -> None:
    """As srun does it: the status of the whole is the largest, here of one that was killed on the way."""
    begin = "import sys; from pnol_jax.sharding import processes; from pnol_jax.errors import InputError\n"
    refuse = begin + "with processes.together(start_seconds=60): raise InputError('no such file')"
    port = free_port()

    def command(words: list[str], using: list[str] | None, each: int) -> list[str]:
        own = f"PNOL_PROCESSES=2 PNOL_COORDINATOR=127.0.0.1:{port}"
        starts = " ".join(f"PNOL_PROCESS={i} {own} {shlex.join(words)} <&3 &" for i in range(2))
        return ["sh", "-c", f"exec 3<&0; {starts} wait; exit 137"]

    run_dir.joinpath("logs").mkdir()
    run_dir.joinpath("logs", "ended-0").write_text("2")  # of an earlier start
    assert supervise(Allocation("slurm", command, None, 2), lambda _: ["false"], run_dir, Policy(restarts=0)) == 1
    ends = Allocation("slurm", command, None, 2)
    assert supervise(ends, lambda _: [sys.executable, "-c", refuse], run_dir, POLICY) == 2
    assert "error: no such file" in log_file(run_dir, 0).read_text()


def test_an_allocation_names_the_first_node_as_the_place_to_meet_and_goes_on_with_the_nodes_that_are_up(
    run_dir: Path,
) -> None:
    asked: list[tuple[list[str], list[str] | None, int]] = []

    def command(words: list[str], using: list[str] | None, each: int) -> list[str]:
        asked.append((words, using, each))
        return ["true"]

    site = Allocation(
        "slurm", command, ["a", "b", "c"], 2, minimum=3, alive=lambda using: [n for n in using if n != "a"]
    )
    assert list(site.start(["train"], run_dir, ())[1]) == list(range(6))
    assert list(site.start(["train"], run_dir, (0,))[1]) == list(range(4))
    assert [using for _, using, _ in asked] == [["a", "b", "c"], ["b", "c"]]
    meet = [next(word for word in words if word.startswith("PNOL_COORDINATOR=")) for words, _, _ in asked]
    assert [address.removeprefix("PNOL_COORDINATOR=").partition(":")[0] for address in meet] == ["a", "b"]
    assert all(words[0] == "/usr/bin/env" and words[-1] == "train" for words, _, _ in asked)
    site.minimum = 5
    assert site.start(["train"], run_dir, (0,)) == ([], [])


def test_each_pod_starts_its_own_share_of_the_processes(run_dir: Path) -> None:
    show = (
        "import os; print(*(os.environ['PNOL_' + n] for n in ('PROCESS', 'PROCESSES', 'LOCAL_PROCESS', 'COORDINATOR')))"
    )
    site = Pod(pod=1, pods=3, coordinator="set-0.set:1234", each=2)
    assert supervise(site, lambda _: [sys.executable, "-c", show], run_dir, POLICY, "launch-1.jsonl") == 0
    said = [log_file(run_dir, index).read_text().split() for index in (2, 3)]
    assert said == [["2", "6", "0", "set-0.set:1234"], ["3", "6", "1", "set-0.set:1234"]]
    assert read_events(run_dir, "launch-1.jsonl")[-1]["event"] == "finished"


def test_a_client_that_does_not_go_is_killed_the_second_time(run_dir: Path) -> None:
    client = Client(
        [
            sys.executable,
            "-c",
            "import signal, time; signal.signal(15, lambda *_: print('no', flush=True)); "
            "print('here', flush=True)\nwhile True: time.sleep(1)",
        ],
        run_dir / "log",
    )
    until(lambda: "here" in (run_dir / "log").read_text())
    client.send(signal.SIGKILL)
    until(lambda: "no" in (run_dir / "log").read_text())
    assert client.status() is None
    client.send(signal.SIGKILL)
    until(lambda: client.status() == -signal.SIGKILL)
    client.close()


@pytest.mark.parametrize(
    ("environment", "programs", "cluster"),
    [
        ({}, ["srun", "mpirun"], "local"),
        ({"SLURM_JOB_ID": "1"}, ["srun"], "slurm"),
        ({"SLURM_JOB_ID": "1"}, [], "local"),
        ({"PBS_NODEFILE": "nodes"}, ["mpirun"], "mpi"),
        ({"JOB_COMPLETION_INDEX": "0", "PNOL_NODES": "2"}, [], "kubernetes"),
    ],
)
def test_the_cluster_is_found(
    environment: dict[str, str], programs: list[str], cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes.shutil, "which", lambda name: name if name in programs else None)
    assert nodes.find_cluster(environment) == cluster


def test_nodes_are_read_from_the_file_of_the_batch_system(tmp_path: Path) -> None:
    path = tmp_path / "nodes"
    path.write_text("b\nb\na slots=2\n\n")
    assert nodes.find_nodes("mpi", {"PBS_NODEFILE": str(path)}) == ["b", "a"]
    assert nodes.find_nodes("mpi", {}) is None


def test_nodes_that_are_down_or_do_not_answer_are_left_out() -> None:
    states = {"a": "idle", "b": "down+completing", "c": "allocated", "d": "mixed+not_responding", "e": "idle+drain"}
    said = "\n".join(f"{node:<20}{state:<30}" for node, state in (states | {"f": "allocated+completing"}).items())
    assert nodes.up(["a", "b", "c", "d", "e", "f", "unheard"], said) == ["a", "c", "f"]


def test_launch_inside_of_srun_or_mpirun_is_refused() -> None:
    with pytest.raises(InputError, match="SLURM_PROCID=3: launch runs once per job"):
        nodes.check_once({"SLURM_PROCID": "3"})
    nodes.check_once({"SLURM_PROCID": "0"})


def test_elastic_on_one_machine_goes_on_with_as_many_as_are_left(run_dir: Path) -> None:
    site = Local(4, minimum=2)
    for lost, left in (((), 4), ((1,), 3), ((0, 1, 2), 2)):
        workers, every = site.start(["true"], run_dir, lost)
        assert list(every) == list(range(left))
        for worker in workers:
            worker.close()


def _command_lines() -> str:
    return "\n".join(
        path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if path.exists()
    )
