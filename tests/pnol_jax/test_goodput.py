"""The stopwatch of a run: every second is of one kind, and what a killed attempt did in vain is counted."""

import io
import json
import re
import time

import pytest
from rich.console import Console

from pnol_jax.sharding.heartbeat import Heartbeat
from pnol_jax.training.closing import known_kind, table
from pnol_jax.training.goodput import Goodput
from pnol_jax.training.progress import Log


def test_laps_add_up_to_the_time_that_passed(run_dir):
    begun = time.monotonic()
    clock = Goodput(run_dir)
    clock.start(0, goes_on=False)
    for kind, seconds in (("input", 0.01), ("step", 0.03), ("input", 0.01), ("checkpoint", 0.02)):
        time.sleep(seconds)
        clock.lap(kind)
    passed = time.monotonic() - begun
    spent = clock.now["seconds"]
    assert spent["input"] >= 0.02
    assert spent["step"] >= 0.03
    assert sum(spent.values()) == pytest.approx(passed, abs=1e-3)
    assert clock.share() == pytest.approx(spent["step"] / passed, rel=0.02)


def test_where_no_step_was_without_compilation_the_closing_table_has_no_time_of_a_step(run_dir):
    clock = Goodput(run_dir)
    clock.start(0, goes_on=False)
    shown = [list(table(clock, {}).columns[0].cells)]
    clock.lap("step")
    shown += [list(table(clock, {}).columns[0].cells)]
    assert ["step" in names for names in shown] == [False, True]


def test_a_terminal_of_80_columns_has_room_for_all_that_is_said_of_a_step(run_dir):
    with Log(run_dir, 20_000, 0, 64, tensorboard=False) as log:
        log._last = (0, log._last[1] - 60)  # a minute ago: some ten thousand cases a second
        log.write(10_000, {"loss": 0.012345, "learning_rate": 0.00123})
        shown = Console(width=80, file=io.StringIO(), record=True)
        shown.print(log._bar.get_renderable())
    (line,) = shown.export_text().splitlines()
    assert "loss 0.01235  lr 0.0012" in line
    assert re.search(r"cases/s 0:00:0\d left [-\d:]{7}", line)


def test_what_a_killed_attempt_reported_after_its_checkpoint_is_lost(run_dir):
    killed = Goodput(run_dir)
    killed.start(0, goes_on=False)
    time.sleep(0.02)
    killed.lap("step")
    killed.write(10)
    ten = killed.now["seconds"]["step"]
    time.sleep(0.1)
    Heartbeat(run_dir, 0).beat(17)  # and then it is killed
    time.sleep(0.05)
    again = Goodput(run_dir)
    again.start(10, goes_on=True)
    first, second = json.loads((run_dir / "goodput.json").read_text())["attempts"]
    assert first["lost_steps"] == 7
    assert first["lost_seconds"] == pytest.approx(0.7 * ten)
    assert first["seconds"]["step"] == pytest.approx(1.7 * ten)
    assert first["seconds"]["step"] + first["seconds"]["other"] - ten >= 0.09  # from the checkpoint to the last report
    assert second["away_seconds"] >= 0.04


@pytest.mark.parametrize(
    ("name", "kind"), [("NVIDIA H100 80GB HBM3", "h100"), ("NVIDIA A100-SXM4-80GB", "a100"), ("cpu", None)]
)
def test_device_kinds_are_known_by_the_names_that_jax_gives_them(name, kind):
    found = known_kind(name)
    assert (found and found.name) == kind
