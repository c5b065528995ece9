"""Scripts and manifests say what was asked for, and what is wrong is refused before it waits in a queue."""

import json
import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from experiments import submit
from experiments.clusters import arrays, external, kubernetes, mpi, shell, slurm
from experiments.clusters.durations import clock, seconds
from experiments.clusters.interface import Job
from experiments.clusters.table import CLUSTERS
from pnol_jax.errors import InputError

CONFIG = """
name = "small"
[data]
train = ["train.npz"]
inputs = ["a"]
outputs = ["u"]
axes = [{ kind = "periodic" }]
[operator]
name = "fno"
modes = [8]
"""


@pytest.fixture(autouse=True)
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A config in the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("small.toml").write_text(CONFIG)


def _job(**fields: object) -> Job:
    return Job(**{"name": "job", "command": ["true"], "folder": "run", "workdir": os.getcwd()} | fields)


def _shown(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert submit.main(["small.toml", *words, "--dry-run"]) == 0
    return capsys.readouterr().out


def _command(script: str, task: str = "") -> list[str]:
    """The words of the command, by running the script with a program that shows them in place of the last line."""
    lines = script.splitlines()
    shown = "\n".join([*lines[:-1], r"printf '%s\0' " + '"${command[@]}"'])
    environment = os.environ | {"SLURM_ARRAY_TASK_ID": task, "PBS_ARRAY_INDEX": task}
    done = subprocess.run(
        ["bash", "-c", shown, "job.sh", task], capture_output=True, text=True, env=environment, check=True
    )
    return done.stdout.split("\0")[:-1]


@pytest.mark.parametrize("cluster", ["slurm", "pbs", "local"])
@pytest.mark.parametrize(
    "word", ["a b", "it's", 'say "so"', "$HOME", "`id`", "*", "", "back\\slash", "two\nlines", "#"]
)
def test_a_script_hands_on_every_word_as_it_is(cluster: str, word: str) -> None:
    job = _job(command=["program", word], tasks=[[word, "zero"], ["one", word]])
    assert _command(CLUSTERS[cluster].script(job), "0") == ["program", word, word, "zero"]
    assert _command(CLUSTERS[cluster].script(job), "1") == ["program", word, "one", word]


def test_variables_and_setup_come_before_the_command() -> None:
    lines = shell.body(_job(environment={"A": "x y"}, setup=['B="$A z"']), "0")
    done = subprocess.run(["bash", "-c", "\n".join([*lines, 'echo "$B"'])], capture_output=True, text=True, check=True)
    assert done.stdout == "x y z\n"


def test_a_work_folder_that_is_gone_ends_the_job() -> None:
    lines = shell.body(_job(workdir="/nowhere"), "0")
    assert (
        subprocess.run(["bash", "-c", "\n".join([*lines, "exit 0"])], capture_output=True, check=False).returncode == 1
    )


def test_slurm_is_asked_for_what_the_flags_say(capsys: pytest.CaptureFixture[str]) -> None:
    flags = "--nodes 2 --processes-per-node 4 --devices-per-node 4 --cpus-per-process 8 --memory 64G --time 90m"
    more = "--queue gpu --account phys --requeue 2 --elastic --after 7 --after 8 --options=--constraint=a100"
    script = _shown(capsys, "--cluster", "slurm", *f"{flags} {more}".split())
    options = {line.removeprefix("#SBATCH ") for line in script.splitlines() if line.startswith("#SBATCH ")}
    assert options >= {
        "--nodes=2",
        "--ntasks-per-node=4",
        "--gpus-per-node=4",
        "--cpus-per-task=8",
        "--mem=64G",
        "--time=0-01:30:00",
        "--partition=gpu",
        "--account=phys",
        "--signal=B:USR1@90",
        "--requeue",
        "--open-mode=append",
        "--no-kill",
        "--dependency=afterok:7:8",
        "--kill-on-invalid-dep=yes",
        "--constraint=a100",
    }
    assert "export SRUN_CPUS_PER_TASK=8" in script.splitlines()


def test_each_task_of_an_array_trains_in_a_folder_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["training.steps=9", "--cluster", "slurm", "--array", "0-1", "--array", "operator.modes=[8],[4]"]
    script = _shown(capsys, *words, "--run", "there")
    launch = ["-m", "experiments.launch", "small.toml", "training.steps=9", "--cluster", "slurm"]
    assert _command(script, "1")[1:] == [*launch, "training.seed=1", "operator.modes=[4]", "--run", "there/1"]
    assert "#SBATCH --array=0-1" in script


def test_the_launcher_is_told_of_hosts_where_no_cluster_names_them(capsys: pytest.CaptureFixture[str]) -> None:
    script = _shown(capsys, "--cluster", "mpi", "--hosts", "a,b", "--processes-per-node", "2", "--elastic")
    told = _command(script)
    assert shlex.join(told).endswith("--elastic --cluster mpi --processes 4 --hosts a,b --run runs/small")


def test_a_sites_file_gives_the_defaults_of_the_flags(capsys: pytest.CaptureFixture[str]) -> None:
    Path("site.toml").write_text('queue = "gpu"\nnodes = 8\nsetup = ["module load cuda"]\n')
    script = _shown(capsys, "--cluster", "slurm", "--site", "site.toml", "--nodes", "2")
    assert "#SBATCH --partition=gpu\n" in script
    assert "#SBATCH --nodes=2\n" in script
    assert "\nmodule load cuda\n" in script


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--cluster", "slurm", "training.stepz=1"], "unknown key 'stepz'"),
        (["--cluster", "slurm", "--array", "training.seed=0,x"], "training.seed"),
        (["--cluster", "slurm", "--array", "0-3", "--array", "training.steps=1,2"], "got \\[2, 4\\] values"),
        (["--cluster", "slurm", "--array", "3"], "got '3', expected seeds such as 0-3"),
        (["--cluster", "slurm", "--nodes", "0"], "nodes: Expected `int` >= 1"),
        (["--cluster", "slurm", "--time", "90"], "time: got '90', expected 30s, 90m"),
        (["--cluster", "slurm", "--time", "60s"], "more than signal_before = 90 seconds"),
        (["--cluster", "slurm", "--memory", "64"], "memory: got '64', expected a number of M, G or T"),
        (["--cluster", "slurm", "--environment", "A"], "--environment A: expected NAME=VALUE"),
        (["--cluster", "slurm", "--setup", "a\nb"], "setup"),
        (["--cluster", "slurm", "--site", "none.toml"], "no file 'none.toml'"),
        (["--cluster", "slurm", "name=a b"], "name"),
        (["--cluster", "mpi", "--nodes", "2"], "expected --hosts A,B"),
        (["--cluster", "slurm", "--", "--overwrite"], "would delete what it has done"),
        (["--cluster", "slurm", "--nodes", "3"], "training.batch_size: got 32, expected a multiple of 3"),
        (["--cluster", "slurm", "--devices-per-node", "3"], "training.batch_size: got 32, expected a multiple of 3"),
        (["--cluster", "slurm", "--image", "i"], "image: SLURM has no such thing"),
        (["--cluster", "local", "--memory", "64G"], "memory: a machine without a queue has no such thing"),
        (["--cluster", "kubernetes"], "--image"),
        (["--cluster", "kubernetes", "--image", "i", "--setup", "true"], "setup: Kubernetes has no such thing"),
    ],
)
def test_what_is_wrong_is_refused_and_leaves_nothing(words: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        submit.main(["small.toml", *words])
    assert sorted(path.name for path in Path().iterdir()) == ["small.toml"]


def test_a_missing_program_and_one_that_does_not_answer_are_one_line() -> None:
    with pytest.raises(InputError, match="no-such-program: no such program here"):
        external.call("no-such-program")
    with pytest.raises(InputError, match=r"sleep 60: no answer within 0\.1 s"):
        external.call("sleep", "60", seconds=0.1)
    with pytest.raises(InputError, match=r"^sh: one; two$"):
        external.call("sh", "-c", "echo one >&2; echo two >&2; exit 1")


def test_where_there_is_no_cluster_it_says_what_works_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(InputError, match=r"sbatch: no such program here.*; --dry-run shows .* --cluster local"):
        submit.main(["small.toml", "--cluster", "slurm"])


def test_workers_of_slurm_need_an_allocation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_NUM_NODES", raising=False)
    with pytest.raises(InputError, match="no allocation"):
        slurm.worker_command(["true"], None, 1)


def test_workers_of_open_mpi_carry_what_libraries_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NCCL_DEBUG", "INFO")
    words = mpi.worker_command(["true"], ["a", "b"], 4)
    assert words[words.index("--host") + 1] == "a:4,b:4"
    assert words[words.index("NCCL_DEBUG") - 1] == "-x"


@pytest.mark.parametrize(
    ("text", "length", "shown"),
    [
        ("45s", 45, "0-00:00:45"),
        ("90m", 5400, "0-01:30:00"),
        ("36h", 129600, "1-12:00:00"),
        ("2d", 172800, "2-00:00:00"),
        ("1:02:03", 3723, "0-01:02:03"),
        ("1-01:02:03", 90123, "1-01:02:03"),
    ],
)
def test_durations(text: str, length: int, shown: str) -> None:
    assert seconds(text) == length
    assert clock(text) == shown
    assert seconds(clock(text)) == length


def test_values_of_an_array_are_parted_at_commas_outside_brackets_and_quotes() -> None:
    word = 'operator.modes=[8,8],[16, 16],[[1],[2,3]],"a,b",fno'
    values = ["[8,8]", "[16, 16]", "[[1],[2,3]]", '"a,b"', "fno"]
    assert arrays.overrides([word]) == [[f"operator.modes={value}"] for value in values]


@pytest.mark.parametrize("text", ["0-3,5%2", "0-9:3", "7", "1,3-5,9", "2-2"])
def test_the_numbers_of_waiting_tasks(text: str) -> None:
    expected = {"0-3,5%2": [0, 1, 2, 3, 5], "0-9:3": [0, 3, 6, 9], "7": [7], "1,3-5,9": [1, 3, 4, 5, 9], "2-2": [2]}
    assert slurm._numbers(text) == expected[text]


def _jobsets(**fields: object) -> list[dict[str, Any]]:
    text = kubernetes.script(_job(**{"image": "registry/pnol:1"} | fields))
    return [json.loads(jobset + "}") for jobset in text.split("\n}\n")[:-1]]


def _spec(jobset: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]
    return found


def test_the_pods_of_a_manifest_meet_at_the_first_of_them() -> None:
    (jobset,) = _jobsets(name="Darcy_2.d", nodes=3)
    name, part = jobset["metadata"]["name"], jobset["spec"]["replicatedJobs"][0]["name"]
    container = _spec(jobset)["template"]["spec"]["containers"][0]
    variables = {entry["name"]: entry["value"] for entry in container["env"]}
    # A pod's name is SET-PART-JOB-POD, the set's own name its subdomain.
    assert variables["JAX_COORDINATOR_ADDRESS"] == f"{name}-{part}-0-0.{name}:{container['ports'][0]['containerPort']}"
    assert (variables["PNOL_NODES"], _spec(jobset)["parallelism"], _spec(jobset)["completions"]) == ("3", 3, 3)
    assert name == "darcy-2-d"


def test_a_manifest_asks_for_what_was_asked() -> None:
    wanted = {"devices_per_node": 4, "cpus_per_process": 8, "processes_per_node": 2, "memory": "64G", "time": "2h"}
    (jobset,) = _jobsets(**wanted, requeue=5, claim="shared", queue="team", namespace="science")
    spec = _spec(jobset)
    pod = spec["template"]["spec"]
    container = pod["containers"][0]
    assert container["resources"]["limits"] == {"cpu": "16", "memory": "64Gi", "nvidia.com/gpu": "4"}
    assert spec["activeDeadlineSeconds"] == 7200
    assert jobset["spec"]["failurePolicy"]["maxRestarts"] == 5
    assert jobset["metadata"]["labels"] == {"kueue.x-k8s.io/queue-name": "team"}
    assert jobset["metadata"]["namespace"] == "science"
    assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == "shared"
    assert container["volumeMounts"][0]["name"] == pod["volumes"][0]["name"]


def test_an_array_is_a_set_for_each_task() -> None:
    sets = _jobsets(tasks=[["a"], ["b"]])
    assert [jobset["metadata"]["name"] for jobset in sets] == ["job-0", "job-1"]
    commands = [_spec(jobset)["template"]["spec"]["containers"][0]["command"] for jobset in sets]
    assert commands == [["true", "a"], ["true", "b"]]


def test_kubernetes_finds_its_manifests_well_formed() -> None:
    pytest.importorskip("kubernetes_validate", reason="not installed: kubernetes-validate")
    _jobsets(time="2h", memory="1G", claim="c", devices_per_node=1, tasks=[["a"], ["b"]])
    (broken,) = _jobsets()
    _spec(broken)["parallelism"] = "two"
    with pytest.raises(InputError, match="parallelism"):
        kubernetes._check(broken)
