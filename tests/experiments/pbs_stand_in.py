"""A stand-in for PBS' commands, for tests: `pbs_stand_in.py qsub|qstat|qdel|qsig|qrerun WORD ...`.

Jobs run on this machine at once, each (sub)job in a session of its own that `keep` watches. Its state is a JSON file in
PBS_STAND_IN, which that process alone writes; the other commands leave marks beside it: ID.qdel, ID.qrerun. As in PBS
SIGTERM goes to the job's processes, and SIGKILL KILL_DELAY seconds after it. Where a file `operators` is, qrerun is
refused, as it is to users; where `forgetful` is, qstat knows no ended job.
"""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(os.environ.get("PBS_STAND_IN", "."))
KILL_DELAY, PAUSE, SERVER = 5.0, 0.05, "stand"


def refuse(text: str) -> int:
    print(text, file=sys.stderr)
    return 1


def qsub(script: str) -> int:
    text = Path(script).read_text()
    words = [word for line in text.splitlines() if line[:5] == "#PBS " for word in shlex.split(line[5:])]
    options = dict(zip(words[::2], words[1::2], strict=True))
    if options.get("-q", "batch") != "batch":
        return refuse("qsub: Unknown queue")
    number = 1 + len(list(HERE.glob("*.sh")))
    span = re.fullmatch(r"(\d+)-(\d+)(?::(\d+))?(?:%\d+)?", options.get("-J", ""))
    indices = list(range(int(span[1]), int(span[2]) + 1, int(span[3] or 1))) if span else []
    names = [f"{number}[{index}].{SERVER}" for index in indices] or [f"{number}.{SERVER}"]
    copy = HERE / f"{number}.sh"
    copy.write_text(text)
    for index, name in zip(indices or [None], names, strict=True):
        write(name, {"job_state": "Q", "run_count": 0})
        keep = [sys.executable, __file__, "keep", name, str(copy), "" if index is None else str(index)]
        limit = re.search(r"walltime=(\d+)", " ".join(words))
        keep += [limit[1] if limit else "", options.get("-W", "").removeprefix("depend=afterok:")]
        subprocess.Popen(keep, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    print(f"{number}[].{SERVER}" if indices else names[0])
    return 0


def write(name: str, state: dict[str, object]) -> None:
    path = HERE / f"{name}.json"
    path.with_suffix(".new").write_text(json.dumps(state))
    path.with_suffix(".new").rename(path)


def jobs(name: str) -> dict[str, dict[str, object]]:
    """The job, or the array's subjobs."""
    pattern = re.escape(name).replace(r"\[\]", r"\[\d+\]")
    files = [path for path in sorted(HERE.glob("*.json")) if re.fullmatch(pattern, path.stem)]
    return {path.stem: json.loads(path.read_text()) for path in files}


def qstat(name: str) -> int:
    found = jobs(name)
    if (HERE / "forgetful").exists():
        found = {each: state for each, state in found.items() if state["job_state"] not in "FX"}
    if not found:
        return refuse(f"qstat: Unknown Job Id {name}")
    array = {name: {"job_state": "B"}} if "[]" in name else {}
    print(json.dumps({"pbs_server": SERVER, "Jobs": array | found}))
    return 0


def mark(command: str, name: str) -> int:
    found = jobs(name)
    going = [each for each, state in found.items() if state["job_state"] not in "FX"]
    if not going:
        return refuse(f"{command}: {'Job has finished' if found else 'Unknown Job Id'} {name}")
    if command == "qrerun" and (HERE / "operators").exists():
        return refuse(f"qrerun: Unauthorized Request {name}")
    for each in going:
        (HERE / f"{each}.{command}").touch()
    time.sleep(10 if command == "qrerun" and name == os.environ.get("PBS_JOBID") else 0)  # it is killed meanwhile
    return 0


def qsig(number: str, name: str) -> int:
    for state in jobs(name).values():
        os.killpg(int(str(state["session_id"])), getattr(signal, number))
    return 0


def keep(name: str, script: str, index: str, limit: str, after: str) -> int:
    """Run a job to its end, again if it is put back."""
    code, state, runs = None, "F" if not index else "X", 0
    if wait_for(name, after.split(":") if after else []):
        while True:
            runs, again = runs + 1, HERE / f"{name}.qrerun"
            code = once(name, script, index, float(limit or "inf"), runs)
            if not again.exists():
                break
            again.unlink()
    ended = {"substate": 91} if code is None or (HERE / f"{name}.qdel").exists() else {"substate": 92}
    write(name, {"job_state": state, "run_count": runs} | ended | ({} if code is None else {"Exit_status": code}))
    return 0


def wait_for(name: str, after: list[str]) -> bool:
    while not (HERE / f"{name}.qdel").exists():
        states = [state for other in after for state in jobs(other).values()]
        if all(state["job_state"] in "FX" for state in states):
            return all(state.get("Exit_status") == 0 for state in states)
        time.sleep(PAUSE)
    return False


def once(name: str, script: str, index: str, limit: float, runs: int) -> int:
    nodes = HERE / "nodes"
    nodes.write_text("localhost\nlocalhost\n")
    environment = os.environ | {"PBS_JOBID": name, "PBS_NODEFILE": str(nodes), "PBS_ARRAY_INDEX": index}
    process = subprocess.Popen(["/bin/bash", script], start_new_session=True, env=environment)
    where = {"exec_host": "node-a/0*2+node-b/0", "run_count": runs, "session_id": process.pid}
    write(name, {"job_state": "R", "comment": "Job run"} | where)
    end, killed, late = time.monotonic() + limit, float("inf"), False
    while process.poll() is None:
        time.sleep(PAUSE)
        late = late or time.monotonic() > end
        if killed == float("inf") and (late or (HERE / f"{name}.qdel").exists()):
            os.killpg(process.pid, signal.SIGTERM)
            killed = time.monotonic() + KILL_DELAY
        if time.monotonic() > killed or (HERE / f"{name}.qrerun").exists():
            os.killpg(process.pid, signal.SIGKILL)
    return -29 if late else process.returncode if process.returncode >= 0 else 256 - process.returncode


def main(command: str, words: list[str]) -> int:
    if command == "keep":
        return keep(*words)
    if command == "qsig":
        return qsig(words[1], words[2])
    return {"qsub": qsub, "qstat": qstat}.get(command, lambda name: mark(command, name))(words[-1])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
