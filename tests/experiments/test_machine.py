"""The supervisor's decisions, from what it sees alone: no process, no clock, no file."""

import itertools
import signal
from collections.abc import Iterable
from dataclasses import replace

import pytest

from experiments.supervision.machine import (
    Note,
    Order,
    Phase,
    Policy,
    Seen,
    Send,
    Start,
    State,
    advance,
    culprits,
    ended,
)

POLICY = Policy(restarts=3, first_delay=1, longest_delay=60, grace=5, save=100, hang=50, begin=500, stacks=2)
TWO = (None, None)


def _play(seen: Iterable[Seen], state: State | None = None, policy: Policy = POLICY) -> tuple[State, list[Order]]:
    state, orders = state or State(), []
    for look in seen:
        state, ordered = advance(state, look, policy)
        orders += ordered
    return state, orders


def _events(orders: Iterable[Order]) -> list[str]:
    return [order.event for order in orders if isinstance(order, Note)]


def _signals(orders: Iterable[Order]) -> list[signal.Signals]:
    return [order.signal for order in orders if isinstance(order, Send)]


def _lost_again_and_again(checkpoints: Iterable[int | None], policy: Policy = POLICY) -> tuple[State, list[Order]]:
    """Each time the workers run, one is lost at once; the newest checkpoint is as given at each look."""
    state, orders, now = State(), [], 0.0
    for checkpoint in checkpoints:
        for statuses in (TWO, TWO, (None, -9), (-15, -9), (-15, -9)):
            now = max(now + 1, state.until if state.phase is Phase.WAITING else 0)
            state, ordered = advance(state, Seen(now, statuses, checkpoint=checkpoint), policy)
            orders += ordered
    return state, orders


def test_a_job_that_goes_well_is_started_once_and_ends_with_0() -> None:
    state, orders = _play([Seen(0), Seen(1, TWO), Seen(2, TWO, step=1), Seen(3, (0, None)), Seen(4, (0, 0))])
    assert (state.phase, state.status) == (Phase.OVER, 0)
    assert _events(orders) == ["started", "stepping", "finished"]
    assert not _signals(orders)


def test_a_lost_process_ends_the_others_by_sigterm_then_by_sigkill_and_all_start_again() -> None:
    looks = [Seen(0), Seen(1, (None, -9)), Seen(5.9, (None, -9)), Seen(6, (None, -9)), Seen(6.1, (-9, -9))]
    state, orders = _play([*looks, Seen(7, (-9, -9)), Seen(7.2, (-9, -9))])
    assert state.phase is Phase.RUNNING
    assert _events(orders) == ["started", "lost", "waiting", "started"]
    assert _signals(orders) == [signal.SIGTERM, signal.SIGKILL]
    assert [order.lost for order in orders if isinstance(order, Start)] == [(), (1,)]
    assert next(order.why for order in orders if isinstance(order, Note) and order.lost) == "process 1 ended by SIGKILL"


def test_without_progress_it_gives_up_after_so_many_restarts() -> None:
    state, orders = _lost_again_and_again([5] * 10)
    assert (state.phase, state.status) == (Phase.OVER, 1)
    assert _events(orders).count("started") == 1 + POLICY.restarts
    assert _events(orders)[-1] == "given up"


def test_a_newer_checkpoint_makes_it_patient_again() -> None:
    _, orders = _lost_again_and_again(range(10, 20))
    assert _events(orders).count("started") == 1 + 10
    assert {order.delay for order in orders if isinstance(order, Note) and order.delay} == {POLICY.first_delay}


def test_the_delay_doubles_and_is_bounded() -> None:
    _, orders = _lost_again_and_again([5] * 12, replace(POLICY, restarts=11))
    delays = [order.delay for order in orders if isinstance(order, Note) and order.delay is not None]
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60]
    assert Policy().delay(10**6) == Policy().longest_delay


@pytest.mark.parametrize("statuses", [(2, None), (None, 2), (1, 2)])
def test_a_wrong_input_is_not_tried_again(statuses: tuple[int | None, ...]) -> None:
    state, orders = _play([Seen(0), Seen(1, statuses), Seen(2, (-15, 2)), Seen(3, (-15, 2))])
    assert (state.phase, state.status) == (Phase.OVER, 2)
    assert _events(orders) == ["started", "lost", "refused"]


def test_asked_to_stop_it_lets_the_workers_save_and_exits_75() -> None:
    state, orders = _play([Seen(0), Seen(1, TWO), Seen(2, TWO, stops=1), Seen(50, (75, None), stops=1)])
    assert state.phase is Phase.SAVING
    assert _signals(orders) == [signal.SIGTERM]
    state, orders = _play([Seen(60, (75, 75), stops=1)], state)
    assert (state.phase, state.status) == (Phase.OVER, 75)


def test_who_does_not_save_in_time_is_killed_and_so_is_everybody_when_asked_twice() -> None:
    state, _ = _play([Seen(0), Seen(1, TWO, stops=1)])
    assert _signals(_play([Seen(100, TWO, stops=1)], state)[1]) == []
    assert _signals(_play([Seen(101, TWO, stops=1)], state)[1]) == [signal.SIGKILL]
    assert _signals(_play([Seen(2, TWO, stops=2)], state)[1]) == [signal.SIGKILL]


def test_workers_that_were_told_to_stop_by_somebody_else_are_not_started_again() -> None:
    state, orders = _play([Seen(0), Seen(1, (75, None)), Seen(2, (75, 75))])
    assert (state.phase, state.status) == (Phase.OVER, 75)
    assert _events(orders) == ["started", "stopping", "stopped"]


def test_a_job_that_is_done_before_it_hears_of_the_wish_to_stop_is_done() -> None:
    state, _ = _play([Seen(0), Seen(1, TWO, stops=1), Seen(2, (0, 0), stops=1)])
    assert (state.phase, state.status) == (Phase.OVER, 0)


@pytest.mark.parametrize("phase", [Phase.WAITING, Phase.ENDING, Phase.STACKS])
def test_a_wish_to_stop_is_heard_in_every_phase(phase: Phase) -> None:
    state, orders = _play([Seen(now, (-9, -9), stops=1) for now in (1, 2, 3)], State(phase, until=10))
    assert (state.phase, state.status) == (Phase.OVER, 75)
    assert not any(isinstance(order, Start) for order in orders)


def test_where_nobody_reports_all_say_where_they_stand_and_are_ended_as_if_lost() -> None:
    looks = [Seen(0), Seen(1, TWO, step=7), Seen(51, TWO, silent=50, step=7)]
    still = Seen(52, TWO, silent=51, step=7, stands="process 1 stands at step 6, process 0 stands at step 7")
    state, orders = _play([*looks, still, Seen(53, TWO, silent=52, step=7), Seen(54, TWO, silent=53, step=7)])
    assert _events(orders) == ["started", "stepping", "hung"]
    assert _signals(orders) == [signal.SIGUSR2, signal.SIGTERM]
    assert Note("hung", "no report for 51 s: " + still.stands, step=7) in orders
    state, orders = _play([Seen(55, (-15, -15)), Seen(60, (-15, -15))], state)
    assert _events(orders) == ["waiting", "started"]


def test_before_the_first_step_there_is_more_patience_and_after_the_last_report_there_is_no_watch() -> None:
    assert _play([Seen(0), Seen(400, TWO, silent=400)])[0].phase is Phase.RUNNING
    assert _play([Seen(0), Seen(600, TWO, silent=600)])[0].phase is Phase.STACKS
    assert _play([Seen(0), Seen(9999, TWO, silent=9000, step=3, reporting=False)])[0].phase is Phase.RUNNING


def test_once_a_worker_is_done_the_others_may_not_be_silent_for_ever() -> None:
    def after(silent: float, reporting: bool) -> Phase:
        return _play([Seen(0), Seen(9999, (0, None), silent=silent, step=3, reporting=reporting)])[0].phase

    assert [after(silent, False) for silent in (400, 600)] == [Phase.RUNNING, Phase.STACKS]
    assert [after(silent, True) for silent in (40, 60)] == [Phase.RUNNING, Phase.STACKS]


def test_where_too_few_hosts_are_left_it_tries_again_until_it_gives_up() -> None:
    state, orders = _play(Seen(float(now)) for now in range(100))
    assert (state.phase, state.status) == (Phase.OVER, 1)
    assert _events(orders).count("started") == 1 + POLICY.restarts


@pytest.mark.parametrize(
    ("statuses", "to_blame"),
    [
        ((None, -9), (1,)),
        ((1, -9, 1), (1,)),  # the peers of a killed process get an error
        ((-6, 1), (1,)),  # and JAX aborts those that hear of it later
        ((-6, None), (0,)),
        ((-6, 2), (1,)),
        ((-9, 2), (1,)),
        ((1, 1), (0, 1)),
        ((0, 0), ()),
    ],
)
def test_who_is_to_blame(statuses: tuple[int | None, ...], to_blame: tuple[int, ...]) -> None:
    assert culprits(statuses) == to_blame


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (1, "ended with status 1"),
        (137, "ended with status 137 (SIGKILL)"),
        (255, "ended with status 255"),
        (-11, "ended by SIGSEGV"),
        (-63, "ended by signal 63"),
    ],
)
def test_a_status_in_words(status: int, words: str) -> None:
    assert ended(status) == words


def test_whatever_is_seen_it_ends_once_all_workers_stay_gone_and_never_starts_after_that() -> None:
    """Every sequence of four looks out of eight, then quiet: never stuck, never a restart beyond the limit."""
    policy = replace(POLICY, restarts=1)
    looks = [
        Seen(0, TWO),
        Seen(0, TWO, stops=1),
        Seen(0, (None, -9)),
        Seen(0, (0, None), step=1),
        Seen(0, (2, None)),
        Seen(0, (75, None)),
        Seen(0, TWO, silent=1e6),
        Seen(0, (1, 1)),
    ]
    for chosen in itertools.product(looks, repeat=4):
        stops = itertools.accumulate((look.stops for look in chosen), max)
        seen = [replace(look, now=10.0 * i, stops=s) for i, (look, s) in enumerate(zip(chosen, stops, strict=True))]
        quiet = [Seen(1000.0 * i, (1, 1), stops=seen[-1].stops) for i in range(1, 9)]
        state, orders = _play([*seen, *quiet], policy=policy)
        assert state.phase is Phase.OVER
        assert sum(isinstance(order, Start) for order in orders) <= 2
        assert _play(quiet, state) == (state, [])
