"""The stopwatch of a run: every second is of one kind, and what a killed attempt did in vain is counted."""

import io
import json
import re
import time

import pytest
from rich.console import Console

from pnol_jax.sharding.heartbeat import Heartbeat
from pnol_jax.training.closing import known_kind, table
from pnol_jax.training.goodput import Goodput, add
from pnol_jax.training.progress import Log

SUM = {"start", "compilation", "input wait", "steps", "checkpoint stall", "fit", "other", "time away", "in all"}


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


def test_what_is_spent_after_the_steps_is_added_to_the_last_attempt(run_dir):
    add(run_dir, "fit", 1.0)  # nothing is written down: nothing happens
    assert not list(run_dir.iterdir())
    clock = Goodput(run_dir)
    clock.start(0, goes_on=False)
    clock.lap("step")
    clock.write(10)
    steps = clock.total("step")
    add(run_dir, "fit", 2.0)
    add(run_dir, "fit", 1.0)
    written = json.loads((run_dir / "goodput.json").read_text())
    assert written["attempts"][-1]["seconds"]["fit"] == 3.0
    assert written["attempts"][-1]["last_step"] == 10
    assert written["goodput"] < steps / 3


def test_where_no_step_was_without_compilation_the_closing_table_has_no_time_of_a_step(run_dir):
    clock = Goodput(run_dir)
    clock.start(0, goes_on=False)
    shown = [list(table(clock, {}).columns[0].cells)]
    clock.lap("step")
    shown += [list(table(clock, {}).columns[0].cells)]
    assert ["step" in names for names in shown] == [False, True]


def test_the_closing_table_adds_up_to_the_time_of_which_goodput_is_a_share(run_dir):
    clock = Goodput(run_dir)
    clock.start(0, goes_on=False)
    kinds = ("start", "compile", "input", "step", "checkpoint", "fit", "other")
    clock.now["seconds"].update({kind: 2.0**place for place, kind in enumerate(kinds)})
    clock.now["away_seconds"] = 100.0
    names, values = (list(column.cells) for column in table(clock, {}).columns)
    seconds = {name: float(value.removesuffix(" s")) for name, value in zip(names, values, strict=True) if name in SUM}
    assert seconds.keys() == SUM
    assert sum(seconds.values()) == 2 * seconds["in all"] == 2 * 227.0
    assert clock.share() == pytest.approx(8.0 / 227.0)


def test_a_terminal_of_80_columns_has_room_for_all_that_is_said_of_a_step(run_dir):
    with Log(run_dir, 20_000, 0, 64, tensorboard=False) as log:
        log._last = (0, log._last[1] - 60)  # a minute ago: some ten thousand cases a second
        log.write(10_000, {"loss": 0.012345, "learning_rate": 0.00123})
        shown = Console(width=80, file=io.StringIO(), record=True)
        shown.print(log._bar.get_renderable())
    (line,) = shown.export_text().splitlines()
    assert "loss 0.01235  lr 0.0012" in line
    assert re.search(r"cases/s 0:00:0\d left [-\d:]{7}", line)


def test_where_there_is_no_terminal_a_line_a_minute_says_how_far_it_is(run_dir, capsys):
    with Log(run_dir, 200, 0, 4, tensorboard=False) as log:
        for step in (10, 20, 30):
            log._told -= 61 * (step == 30)
            log.write(step, {"loss": 0.5, "learning_rate": 0.1})
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step")]
    assert [line.split("  ")[0] for line in said] == ["step 10 of 200", "step 30 of 200"]


def test_where_there_is_no_terminal_the_last_step_is_said_and_nothing_after_what_is_shown(run_dir, capsys):
    with Log(run_dir, 200, 0, 4, tensorboard=False) as log:
        for step in (10, 200):
            log.write(step, {"loss": 0.5, "learning_rate": 0.1})
        log.show("where the time went")
    said = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in said] == ["step 10 of 200", "step 200 of 200", "where the time went"]


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
