"""Kubernetes: a JobSet whose pods are the nodes of the job, handed in by kubectl.

Every pod runs the command. JAX_COORDINATOR_ADDRESS, PNOL_NODES and JOB_COMPLETION_INDEX tell it of the others. A pod
that fails ends the others, and the whole set is started again, `requeue` times at most. A pod is told by SIGTERM that
its node is wanted, `signal_before` seconds before it is killed.
"""

import json
import re
import secrets
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any

from experiments.clusters.durations import seconds
from experiments.clusters.external import call
from experiments.clusters.interface import Job, Request, State, Status, Submitted, refuse
from pnol_jax.errors import InputError
from pnol_jax.files import write_atomically

API = "jobset.x-k8s.io/v1alpha2"
SET_LABEL = "jobset.sigs.k8s.io/jobset-name"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
PORT = 55527  # of the coordinator, the one that JAX takes in Kubernetes
LONGEST_NAME = 40  # a pod's name adds more to it and may have 63 letters
NOT_FOUND = "NotFound"


def script(job: Job) -> str:
    """The manifest: one JobSet after the other, in JSON."""
    return _text(job, _set_name(job))


def _text(job: Job, name: str) -> str:
    refuse(job, "Kubernetes", ("setup", "options", "after", "account", "elastic", "hosts", "at_once"))
    if not job.image:
        raise InputError("image: got none, expected --image, a container image with this project in it")
    sets = _jobsets(job, name)
    for jobset in sets:
        _check(jobset)
    return "".join(json.dumps(jobset, indent=2) + "\n" for jobset in sets)


def _set_name(job: Job) -> str:
    return re.sub(r"[^a-z0-9]+", "-", job.name.lower())[:LONGEST_NAME].strip("-")


def _jobsets(job: Job, name: str) -> list[dict[str, Any]]:
    """One JobSet; for an array, one for each task."""
    if not job.tasks:
        return [_jobset(job, name, job.command)]
    return [_jobset(job, f"{name}-{number}", [*job.command, *words]) for number, words in enumerate(job.tasks)]


def _jobset(job: Job, name: str, command: list[str]) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name}
    if job.namespace:
        metadata["namespace"] = job.namespace
    if job.queue:
        metadata["labels"] = {QUEUE_LABEL: job.queue}
    return {
        "apiVersion": API,
        "kind": "JobSet",
        "metadata": metadata,
        "spec": {
            "failurePolicy": {"maxRestarts": job.requeue},
            "network": {"enableDNSHostnames": True, "publishNotReadyAddresses": True},
            "replicatedJobs": [{"name": "nodes", "replicas": 1, "template": {"spec": _job_spec(job, name, command)}}],
        },
    }


def _job_spec(job: Job, name: str, command: list[str]) -> dict[str, Any]:
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": max(job.signal_before, 1),
        "containers": [_container(job, name, command)],
    }
    if job.claim:
        pod["volumes"] = [{"name": "work", "persistentVolumeClaim": {"claimName": job.claim}}]
    spec = {
        "completionMode": "Indexed",
        "parallelism": job.nodes,
        "completions": job.nodes,
        "backoffLimit": 0,
        "template": {"spec": pod},
    }
    return spec | ({"activeDeadlineSeconds": seconds(job.time)} if job.time else {})


def _container(job: Job, name: str, command: list[str]) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": "node",
        "image": job.image,
        "command": command,
        "workingDir": job.workdir,
        "env": [{"name": key, "value": value} for key, value in _variables(job, name).items()],
        "ports": [{"containerPort": PORT}],
        "resources": {"limits": _limits(job)},
    }
    return container | ({"volumeMounts": [{"name": "work", "mountPath": job.workdir}]} if job.claim else {})


def _variables(job: Job, name: str) -> dict[str, str]:
    own = {
        "PYTHONUNBUFFERED": "1",
        "JAX_COORDINATOR_ADDRESS": f"{name}-nodes-0-0.{name}:{PORT}",
        "PNOL_NODES": str(job.nodes),
    }
    return own | job.environment


def _limits(job: Job) -> dict[str, str]:
    limits = {
        "cpu": job.cpus_per_process * job.processes_per_node,
        "memory": job.memory and f"{job.memory}i",
        "nvidia.com/gpu": job.devices_per_node,
    }
    return {name: str(limit) for name, limit in limits.items() if limit}


def _check(jobset: dict[str, Any]) -> None:
    """Refuse a malformed manifest, where kubernetes-validate is installed; a JobSet is checked by the Job in it."""
    try:
        import kubernetes_validate as schemas
    except ImportError:
        return
    spec = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]
    plain = {"apiVersion": "batch/v1", "kind": "Job", "metadata": jobset["metadata"], "spec": spec}
    try:
        schemas.validate(plain, schemas.latest_version(), strict=True)
    except schemas.ValidationError as error:
        raise InputError(f"manifest: {'.'.join(map(str, error.path))}: {error.message}") from None


def submit(job: Job) -> str:
    """Write the manifest and hand it in."""
    name = f"{_set_name(job)}-{secrets.token_hex(3)}"
    path = job.submit / f"{name}.json"
    write_atomically(path, _text(job, name))
    try:
        call("kubectl", "create", f"--filename={path}")
    except InputError as error:
        raise InputError(f"{error}; the manifest is {path}") from None
    return name


def launch_words(request: Request) -> list[str]:
    """The pods tell of each other."""
    return ["--processes", str(request.nodes * request.processes_per_node)]


def status(submitted: Submitted) -> list[Status]:
    """Ask for every JobSet."""
    return [_status(submitted.job, task, _set(submitted, task)) for task in submitted.task_ids()]


def _set(submitted: Submitted, task: str) -> str:
    """The name of a task's JobSet: it may hold no underscore."""
    return submitted.id + task.removeprefix(submitted.id).replace("_", "-")


def _status(job: Job, task: str, name: str) -> Status:
    try:
        answer = json.loads(call("kubectl", *_namespace(job), "get", "jobset", name, "--output=json"))
    except InputError as error:
        if NOT_FOUND not in str(error):
            raise
        return Status(id=task, state="unknown", detail="Kubernetes knows it no more")
    found = answer.get("status", {})
    return Status(
        id=task, state=_state(found), detail=found.get("terminalState", ""), restarts=found.get("restarts", 0)
    )


def _state(found: dict[str, Any]) -> State:
    ended: dict[str, State] = {"Completed": "done", "Failed": "failed"}
    if found.get("terminalState"):
        return ended.get(found["terminalState"], "unknown")
    jobs = found.get("replicatedJobsStatus", [])
    return "running" if any(job.get("active") or job.get("ready") for job in jobs) else "waiting"


def logs(submitted: Submitted, task: str, *, follow: bool) -> Iterator[str]:
    """What the pods of a task have printed, each line with its pod's name."""
    label = f"--selector={SET_LABEL}={_set(submitted, task)}"
    more = ["--prefix", "--tail=-1", f"--max-log-requests={max(submitted.job.nodes, 5)}"]
    words = ["kubectl", *_namespace(submitted.job), "logs", label, *more]
    if not follow:
        yield call(*words)
        return
    with subprocess.Popen([*words, "--follow"], stdout=subprocess.PIPE, text=True, errors="replace") as process:
        assert process.stdout is not None
        yield from process.stdout


def cancel(submitted: Submitted, tasks: Sequence[str]) -> None:
    """Delete the JobSets."""
    sets = [_set(submitted, task) for task in tasks]
    call("kubectl", *_namespace(submitted.job), "delete", "jobset", *sets, "--ignore-not-found", "--wait=false")


def _namespace(job: Job) -> list[str]:
    return [f"--namespace={job.namespace}"] if job.namespace else []


def worker_command(command: list[str], nodes: list[str] | None, processes_per_node: int) -> list[str]:
    """The command itself: every pod starts its own workers."""
    return command
