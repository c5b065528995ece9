"""The part of a job's script that is the same on every cluster: work folder, variables, set-up, the command."""

import shlex

from experiments.clusters.interface import Job


def body(job: Job, task: str) -> list[str]:
    """Lines that leave the words of the command in the array `command`.

    Args:
        job: the job.
        task: the shell's word for the number of an array's task.
    """
    lines = [f"cd {shlex.quote(job.workdir)} || exit 1", "export PYTHONUNBUFFERED=1"]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in job.environment.items()]
    lines += job.setup
    lines += [f"command=({shlex.join(job.command)})"]
    if job.tasks:
        cases = [f"{number}) command+=({shlex.join(words)}) ;;" for number, words in enumerate(job.tasks)]
        lines += [f'case "{task}" in', *(f"    {case}" for case in cases), "esac"]
    return lines
