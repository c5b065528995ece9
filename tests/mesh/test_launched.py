"""Real trainings of two processes under the launch command: killed, stopped, with a damaged checkpoint, gone wrong."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from experiments.supervision.events import read_events
from experiments.supervision.supervise import newest_checkpoint
from tests.experiments.test_faults import config as short
from tests.experiments.test_launch import _launch, config
from tests.processes import until

__all__ = ["config", "short"]


def test_when_one_of_two_processes_is_killed_training_goes_on_and_equals_an_unbroken_one_bit_for_bit(
    config: Path, tmp_path: Path
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert _launch(config, whole, "--processes", "2").wait(300) == 0
    second = _launch(config, broken, "--processes", "2")
    until(lambda: newest_checkpoint(broken), seconds=120)
    os.kill(next(event for event in read_events(broken) if event["event"] == "started")["pids"][1], signal.SIGKILL)
    assert second.wait(300) == 0
    names = [event["event"] for event in read_events(broken) if event["event"] != "stepping"]
    assert names == ["started", "lost", "waiting", "started", "finished"]
    assert (broken / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_a_training_that_is_told_to_stop_saves_exits_75_and_goes_on_when_launched_again(
    config: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = ("training.steps=1000000", "--processes", "2")
    process = _launch(config, run, *words)
    until(lambda: newest_checkpoint(run), seconds=120)
    process.send_signal(signal.SIGUSR1)
    assert process.wait(120) == 75
    stopped = newest_checkpoint(run)
    process = _launch(config, run, *words)
    until(lambda: (newest_checkpoint(run) or 0) > (stopped or 0), seconds=120)
    process.terminate()
    assert process.wait(120) == 75


def launched(config: Path, run: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "experiments.launch", str(config), "--run", str(run), "--processes", "2"]
    command += ["mesh.data=2", "training.log_every=1", *words, "--", "--no-report"]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_two_processes_agree_on_the_checkpoint_before_a_damaged_one(short: Path, tmp_path: Path) -> None:
    def losses() -> dict[int, float]:
        done = launched(short, tmp_path / "run")
        assert done.returncode == 0, done.stderr[-3000:]
        lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
        return {line["step"]: line["loss"] for line in lines}

    whole = losses()
    newest = tmp_path / "run" / "checkpoints" / "12"
    file = max(newest.rglob("*"), key=lambda path: path.is_file() and path.stat().st_size)
    file.write_bytes(file.read_bytes()[:-1])
    (tmp_path / "run" / "log.jsonl").unlink()
    assert losses() == {step: whole[step] for step in range(9, 13)}
    assert newest.with_name("damaged-12").is_dir()
    first, second = json.loads((tmp_path / "run" / "goodput.json").read_text())["attempts"]
    assert first["lost_steps"] == 4
    assert second["sent_bytes"] > 0  # the gradients


def test_two_processes_roll_back_together_and_stop_together(short: Path, tmp_path: Path) -> None:
    words = ["optimizer.learning_rate=1e30", "optimizer.warmup_steps=6", "training.max_bad_steps=1"]
    words += ["training.steps=60", "training.checkpoint_every=2", "training.rollbacks=1"]
    done = launched(short, tmp_path / "run", *words)  # step 2 is the first with a rate, and the last that is finite
    assert done.returncode == 2
    log = (tmp_path / "run" / "logs" / "process-0.log").read_text()
    assert "back to step 2, learning rate times 0.5" in log
    assert "is not finite; the last good checkpoint is of step 2" in log
    assert "2 of the last 1000 steps bad, 1 rollbacks" in log
