"""What can go wrong in the middle of training, and what comes of it."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest

from pnol_jax.errors import InputError
from pnol_jax.training.guard import LEAST
from pnol_jax.training.integrity import seal
from pnol_jax.training.loop import Diverged, NotFinite, Stopped
from pnol_jax.training.storage import SaveFailed
from tests.loop import Batches, run, same
from tests.processes import until


def faults(folder: Path) -> list[tuple[int, str]]:
    file = folder / "faults.jsonl"
    lines = map(json.loads, file.read_text().splitlines()) if file.exists() else ()
    return [(line["step"], line["fault"]) for line in lines]


def steps(folder: Path) -> list[int]:
    return sorted(int(path.name) for path in (folder / "checkpoints").iterdir() if path.name.isdigit())


def wait_for(folder: Path, step: int) -> None:
    """Saving goes on beside the steps, which here are faster."""
    until(lambda: step in steps(folder), seconds=60)


def damage(folder: Path, step: int, how: str) -> None:
    """Truncate the largest file of a checkpoint, or flip one of its bits."""
    file = max((folder / "checkpoints" / str(step)).rglob("*"), key=lambda path: path.is_file() and path.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content[: len(content) // 2] if how == "truncated" else content)


@contextlib.contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[Path]:
    if os.geteuid() or not shutil.which("mount"):
        pytest.skip("a full disk: needs root and mount")
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)], check=False)
    if made.returncode:
        pytest.skip("a full disk: tmpfs cannot be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextlib.contextmanager
def filled(disk: Path) -> Iterator[None]:
    """No byte is left on the disk."""
    file = disk / "filling"
    with contextlib.suppress(OSError), file.open("wb", buffering=0) as filling:
        while True:
            filling.write(bytes(4096))
    yield
    file.unlink()


def test_a_nan_batch_is_left_out_as_if_it_were_not_there(run_dir):
    state = run(run_dir, Batches(bad=[7, 30]), steps=40)
    assert int(state.step) == 40
    assert np.isfinite(state.params["operator.slope"]).all()
    assert faults(run_dir) == [(8, "skipped"), (31, "skipped")]
    before = run(run_dir.with_name("seven"), Batches(), steps=7)
    eight = run(run_dir.with_name("eight"), Batches(bad=[7]), steps=8)
    for name in ("params", "optimizer", "average"):  # of the failed step nothing is kept but its number
        left, right = (jax.tree.leaves(getattr(each, name)) for each in (before, eight))
        assert all(map(np.array_equal, left, right))


def test_too_many_bad_steps_go_back_before_them_with_a_smaller_rate_and_past_the_batches(run_dir):
    batches = Batches(bad=[22, 23, 24])
    run(run_dir, batches, checkpoint_every=10)
    assert faults(run_dir) == [(23, "skipped"), (24, "skipped"), (25, "skipped"), (25, "rollback")]
    assert batches.drawn == list(range(65))  # step 21 was done again, with batch 25
    lines = [json.loads(line) for line in (run_dir / "log.jsonl").read_text().splitlines()]
    rates = {line["step"]: line["learning_rate"] for line in lines}
    assert rates[20] == pytest.approx(0.01)
    assert rates[60] == pytest.approx(0.005)
    goodput = json.loads((run_dir / "goodput.json").read_text())["attempts"][0]
    assert (goodput["lost_steps"], goodput["skipped_steps"]) == (5, 3)


def test_bad_steps_that_are_far_apart_are_within_the_budget(run_dir):
    run(run_dir, Batches(bad=range(5, 60, 10)), bad_window=15)
    assert {kind for _, kind in faults(run_dir)} == {"skipped"}


def test_after_the_last_rollback_it_stops_and_names_step_tensor_and_checkpoint(run_dir):
    with pytest.raises(NotFinite) as stopped:
        run(run_dir, Batches(bad=range(25, 999)), rollbacks=2)
    said = str(stopped.value)
    assert "batch.outputs is not finite; the last good checkpoint is of step 20" in said
    assert "3 of the last 1000 steps bad, 2 rollbacks" in said
    assert [kind for _, kind in faults(run_dir)].count("rollback") == 2


def test_with_no_budget_the_first_bad_step_stops(run_dir):
    with pytest.raises(NotFinite, match=r"step 8: batch\.outputs is not finite; there is no checkpoint yet"):
        run(run_dir, Batches(bad=[7]), max_bad_steps=0, rollbacks=0)


def test_a_spike_is_left_out_where_it_is_asked_for(run_dir):
    calm = run(run_dir, Batches(large=[30]), spike_factor=20.0)
    assert faults(run_dir) == [(31, "skipped")]
    other = run_dir.with_name("other")
    taken = run(other, Batches(large=[30]))
    assert not faults(other)
    assert not np.array_equal(calm.params["operator.slope"], taken.params["operator.slope"])
    early = run_dir.with_name("early")
    run(early, Batches(large=[LEAST - 1]), spike_factor=20.0)
    assert not faults(early)  # nothing is known yet of what is usual


def test_spikes_over_the_budget_stop_with_the_norm(run_dir):
    with pytest.raises(
        Diverged, match=r"the gradient's norm is [\d.e+]+, the limit .*last good checkpoint is of step 30"
    ):
        run(run_dir, Batches(large=range(35, 99)), spike_factor=20.0, rollbacks=1)


@pytest.mark.parametrize("stop", [23, 24, 27, 38])
def test_a_run_stopped_amid_its_faults_goes_on_as_the_unbroken_one(run_dir, stop):
    spoiled = {"bad": [22, 23, 26], "large": [40]}
    whole = run(run_dir, Batches(**spoiled), spike_factor=20.0)
    broken = run_dir.with_name("broken")

    def told(step: int) -> None:
        if step == stop:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped):
        run(broken, Batches(**spoiled), spike_factor=20.0, beat=told)
    assert same(run(broken, Batches(**spoiled), resume=True, spike_factor=20.0), whole)
    assert "rollback" in [kind for _, kind in faults(broken)]


@pytest.mark.parametrize("how", ["truncated", "flipped"])
def test_a_damaged_newest_checkpoint_is_set_aside_and_the_one_before_is_used(run_dir, how):
    whole = run(run_dir, Batches())
    damage(run_dir, 60, how)
    batches = Batches()
    assert same(run(run_dir, batches, resume=True), whole)
    assert batches.drawn == list(range(50, 60))
    assert (run_dir / "checkpoints" / "damaged-60").is_dir()
    assert steps(run_dir)[-2:] == [50, 60]
    said = json.loads((run_dir / "faults.jsonl").read_text())["said"]
    assert "checkpoint 60 is damaged and set aside as damaged-60" in said
    assert "that of step 50 is used" in said


def test_where_all_are_damaged_it_says_so_and_does_not_begin_anew(run_dir):
    run(run_dir, Batches(), steps=20)
    damage(run_dir, 10, "flipped")
    damage(run_dir, 20, "truncated")
    for _ in range(2):
        with pytest.raises(InputError, match="no whole checkpoint"):
            run(run_dir, Batches(), resume=True, steps=20)


def test_a_rollback_passes_over_a_damaged_checkpoint(run_dir):
    class Damaging(Batches):
        def __next__(self):
            if self.next == 24:
                wait_for(run_dir, 20)
                damage(run_dir, 20, "flipped")
            return super().__next__()

    run(run_dir, Damaging(bad=[25, 26, 27]))
    assert [kind for _, kind in faults(run_dir)] == ["skipped"] * 3 + ["checkpoint", "rollback"]
    assert "back to step 10" in (run_dir / "faults.jsonl").read_text()


def test_a_full_disk_costs_a_checkpoint_but_not_the_run(tmp_path):
    with small_disk(tmp_path / "disk", 4096) as disk, contextlib.ExitStack() as full:

        def fill(step: int) -> None:
            if step == 15:
                wait_for(disk / "run", 10)
                full.enter_context(filled(disk))
            if step == 35:
                full.close()

        state = run(disk / "run", Batches(), beat=fill)
        assert int(state.step) == 60
        said = [json.loads(line) for line in (disk / "run" / "faults.jsonl").read_text().splitlines()]
        assert "could not be saved: No space left on device; the last one is of step 10" in said[0]["said"]
        assert steps(disk / "run") == [10, 40, 50, 60]
        assert not list((disk / "run" / "checkpoints").glob("*tmp*"))
        assert all(json.loads(line) for line in (disk / "run" / "log.jsonl").read_text().splitlines())
        shutil.rmtree(disk / "run" / "checkpoints" / "60")
        assert same(run(disk / "run", Batches(), resume=True), state)


@pytest.mark.parametrize(("at", "kept"), [(55, [10, 20, 30, 40, 50]), (5, [])])
def test_a_full_disk_at_the_last_save_or_at_the_first_is_an_error(tmp_path, at, kept):
    with small_disk(tmp_path / "disk", 4096) as disk, contextlib.ExitStack() as full:

        def fill(step: int) -> None:
            if step == at:
                wait_for(disk / "run", *kept[-1:]) if kept else None
                full.enter_context(filled(disk))

        with pytest.raises(SaveFailed, match=f"step {60 if kept else 10} could not be saved: No space left"):
            run(disk / "run", Batches(), beat=fill)
        assert steps(disk / "run") == kept
        assert not list((disk / "run" / "checkpoints").glob("*tmp*"))


def test_the_best_and_every_so_manieth_checkpoint_are_kept(run_dir):
    run(run_dir, Batches(large=[*range(31, 40), *range(41, 60)]), keep_checkpoints=1, keep_best=1, keep_every=20)
    assert steps(run_dir) == [20, 30, 40, 60]
    between = run_dir.with_name("between")
    run(between, Batches(), keep_checkpoints=1, keep_every=25)  # checkpoints are of every tenth
    assert steps(between) == [25, 50, 60]
    bare = run_dir.with_name("bare")
    run(bare, Batches(), keep_checkpoints=2)
    assert steps(bare) == [50, 60]


@pytest.mark.parametrize("wait", [True, False])
def test_a_checkpoint_is_whole_before_the_next_step_where_that_is_wanted(run_dir, monkeypatch, wait):
    def slow(folder: Path, step: int) -> None:
        time.sleep(0.5)
        seal(folder, step)

    monkeypatch.setattr("pnol_jax.training.checkpoints.seal", slow)
    found: dict[int, list[int]] = {}
    run(run_dir, Batches(), steps=21, checkpoint_wait=wait, beat=lambda step: found.update({step: steps(run_dir)}))
    assert (found[11], found[21]) == (([10], [10, 20]) if wait else ([], [10]))


def test_steps_that_are_done_again_count_as_lost(run_dir):
    run(run_dir, Batches())
    shutil.rmtree(run_dir / "checkpoints" / "60")
    run(run_dir, Batches(), resume=True)
    goodput = json.loads((run_dir / "goodput.json").read_text())
    first, second = goodput["attempts"]
    assert (first["lost_steps"], second["lost_steps"], second["first_step"]) == (10, 0, 50)
    spent = [seconds for attempt in (first, second) for seconds in attempt["seconds"].values()]
    productive = first["seconds"]["step"] + second["seconds"]["step"] - first["lost_seconds"]
    assert goodput["goodput"] == pytest.approx(productive / sum(spent))


def test_chosen_steps_are_traced(run_dir):
    run(run_dir, Batches(), steps=12, profiled=range(5, 8))
    (trace,) = (run_dir / "profile" / "plugins" / "profile").glob("*/*.xplane.pb")
    events = {
        (event.name, *event.stats)
        for plane in jax.profiler.ProfileData.from_file(str(trace)).planes
        for line in plane.lines
        for event in line.events
        if event.name == "train"
    }
    assert sorted(dict(stats)["step_num"] for _, *stats in events) == [5, 6, 7]


def test_nothing_is_compiled_for_the_closing_table(run_dir):
    seen: list[str] = []
    listen = lambda event, duration, **_: seen.append(event) if "backend_compile" in event else None  # noqa: E731

    def heard(step: int) -> None:
        if step == 6:  # the last; what the log needs was compiled after the fifth
            jax.monitoring.register_event_duration_secs_listener(listen)

    try:
        run(run_dir, Batches(), steps=6, checkpoint_every=100, beat=heard)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    figures = json.loads((run_dir / "goodput.json").read_text())["attempts"][0]
    assert figures["flops"] > 0
    assert figures["memory_peak_bytes"] > 0
    assert seen == []
