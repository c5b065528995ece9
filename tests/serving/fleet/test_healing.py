"""What is wrong with which replica, by made-up observations."""

import itertools
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from serving.fleet.healing.config import HealingConfig
from serving.fleet.healing.crashes import Crashes, ended, lasted
from serving.fleet.healing.hang import Silence, silent
from serving.fleet.healing.memory import growth, oversized
from serving.fleet.healing.slow import Pace, Record, ejected, judge
from serving.fleet.healing.verdict import Cure
from serving.fleet.identity import Identity
from serving.fleet.replicas.life import Phase, Replica
from serving.fleet.supervisor.cures import Cures
from serving.fleet.supervisor.decisions import Decisions

MIB = 2.0**20


def cures(verdicts: object) -> dict[str, Cure]:
    return {verdict.name: verdict.cure for verdict in verdicts}  # type: ignore[attr-defined]


def test_one_missed_probe_holds_and_a_lasting_silence_ends() -> None:
    config = HealingConfig(stall_seconds=2.0)
    heard = Silence().heard()
    missed = heard.missed(0.6, 0.5)
    gone = missed.missed(0.5, 0.5).missed(0.5, 0.5).missed(0.5, 0.5)
    found = silent({"well": heard, "missed": missed, "gone": gone}, config)
    assert cures(found) == {"missed": Cure.HOLD, "gone": Cure.KILL}
    assert not list(silent({"back": gone.heard()}, config))


def test_where_all_are_silent_at_once_it_is_rather_the_machine() -> None:
    config = HealingConfig(stall_seconds=2.0, stall_all_seconds=5.0)
    three, five = Silence(3.0, True), Silence(5.0, True)
    assert cures(silent({"a": three, "b": three, "starting": Silence()}, config)) == {"a": Cure.HOLD, "b": Cure.HOLD}
    assert cures(silent({"a": five, "b": three}, config)) == {"a": Cure.KILL, "b": Cure.HOLD}
    assert cures(silent({"a": three, "well": Silence(0.0, True)}, config)) == {"a": Cure.KILL}
    assert cures(silent({"alone": three, "starting": Silence()}, config)) == {"alone": Cure.KILL}


def test_a_replica_that_never_answered_is_not_silent_but_starting() -> None:
    assert Silence().missed(100.0, 0.5) == Silence()


def test_one_that_warms_up_and_misses_a_probe_is_starting_not_ill(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    decisions = Decisions(tmp_path, 100, 10**6, lambda act: act())
    replica = Replica("r1", 8000, Identity(1, 2), 1, 0.0, phase=Phase.WARMING)
    roster: Any = SimpleNamespace(
        replicas={"r1": replica}, watches={"r1": SimpleNamespace(silence=Silence(0.5, True), memory=[], readings=0)}
    )
    updates: Any = None  # none is under way
    cured = Cures(HealingConfig(), roster, updates, decisions)
    for now in (1.0, 2.0):
        cured.heal(now)
    assert (cured.verdicts, cured.held) == ({}, set())
    assert [(line["event"], line["replica"]) for line in decisions.recent] == [("starting", "r1")]
    roster.replicas["r1"] = replace(replica, phase=Phase.READY)
    cured.heal(3.0)
    assert cured.held == {"r1"}
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]


def test_a_pause_of_the_watcher_counts_as_one_missed_probe() -> None:
    assert Silence().heard().missed(3600.0, 0.5).seconds == 0.5


def test_memory_above_the_limit_retires_and_without_a_limit_nothing_does() -> None:
    samples = {"large": [(0.0, 101 * MIB)], "small": [(0.0, 99 * MIB)], "unknown": []}
    assert cures(oversized(samples, HealingConfig(memory_bytes=int(100 * MIB)))) == {"large": Cure.RETIRE}
    assert not list(oversized(samples, HealingConfig()))


def test_growth_retires_before_the_limit_and_a_step_at_the_start_does_not() -> None:
    config = HealingConfig(memory_bytes=int(1000 * MIB), memory_window=100.0, memory_ahead=300.0)
    times = [float(second) for second in range(200)]
    samples = {
        "leaks": [(time, (400 + 2 * time) * MIB) for time in times],  # 798 now, the limit in 101 s
        "slowly": [(time, (400 + 0.5 * time) * MIB) for time in times],  # the limit in 1000 s
        "began": [(time, (100 if time < 20 else 800) * MIB) for time in times],
        "young": [(time, (100 + 20 * time) * MIB) for time in times[:30]],
    }
    assert cures(oversized(samples, config)) == {"leaks": Cure.RETIRE}
    assert "in 101 s" in next(iter(oversized(samples, config))).why


def test_growth_is_the_slope_of_a_line_whatever_the_times() -> None:
    for slope, offset in itertools.product((-3.0, 0.0, 7.0), (0.0, 1e6)):
        samples = [(time, offset + slope * time) for time in (0.0, 1.0, 2.5, 7.0, 11.0)]
        assert growth(samples) == pytest.approx(slope, abs=1e-6)
    assert growth([(1.0, 5.0)]) == 0.0


SLOW = HealingConfig(slow_factor=3.0, slow_seconds=0.01, slow_looks=3, slow_requests=10, eject_seconds=10.0)


def rounds(paces: dict[str, Pace], number: int, records: dict[str, Record] | None = None, now: float = 0.0):  # type: ignore[no-untyped-def]
    records = records or {}
    for turn in range(number):
        records = judge(paces, records, now + turn, SLOW)
    return records


def test_who_is_slower_than_the_others_is_ejected_for_a_time_and_longer_each_time() -> None:
    paces = {"a": Pace(0.02, 50), "b": Pace(0.025, 50), "c": Pace(0.1, 50)}
    assert not cures(ejected(rounds(paces, 2), 2.0, SLOW))
    records = rounds(paces, 3)
    assert cures(ejected(records, 3.0, SLOW)) == {"c": Cure.HOLD}
    assert not cures(ejected(records, 12.0, SLOW))
    again = rounds(paces, 3, records, 20.0)
    assert cures(ejected(again, 41.9, SLOW)) == {"c": Cure.HOLD}
    assert not cures(ejected(again, 42.0, SLOW))


def test_who_is_ejected_too_often_is_replaced() -> None:
    paces, records = {"a": Pace(0.02, 50), "b": Pace(0.1, 50)}, {}
    for turn in range(SLOW.eject_times + 1):
        assert Cure.RETIRE not in cures(ejected(records, 1000.0 * turn, SLOW)).values()
        records = rounds(paces, SLOW.slow_looks, records, 1000.0 * turn)
    assert cures(ejected(records, 1000.0 * turn, SLOW)) == {"b": Cure.RETIRE}


@pytest.mark.parametrize(
    "paces",
    [
        {"a": Pace(0.1, 50), "b": Pace(0.11, 50), "c": Pace(0.12, 50)},  # all are
        {"a": Pace(0.001, 50), "b": Pace(0.009, 50)},  # by less than counts
        {"a": Pace(0.02, 50), "b": Pace(0.1, 9)},  # too few requests to tell
        {"a": Pace(0.02, 9), "b": Pace(0.1, 50)},  # the others had too few
        {"a": Pace(0.1, 50)},  # it is alone
    ],
)
def test_who_is_not_ejected(paces: dict[str, Pace]) -> None:
    assert not cures(ejected(rounds(paces, 10), 10.0, SLOW))


def test_no_more_than_the_share_are_out_at_once_the_slowest_first() -> None:
    paces = {f"r{n}": Pace(0.01 if n < 3 else 0.1 * n, 50) for n in range(5)}
    config = HealingConfig(slow_looks=1, eject_share=0.2)
    records = judge(paces, {}, 0.0, config)
    assert cures(ejected(records, 0.0, config)) == {"r4": Cure.HOLD}
    records = judge(paces, records, 1.0, config)
    assert cures(ejected(records, 1.0, config)) == {"r4": Cure.HOLD}


LOOP = HealingConfig(lasted_seconds=5.0, pause_seconds=0.5, longest_pause=3.0, loop_alarm=3)


def test_pauses_double_up_to_the_longest_and_the_third_end_is_an_alarm() -> None:
    crashes, now, pauses, alarms = Crashes(), 0.0, [], []
    for _ in range(5):
        crashes = ended(crashes, now, None, LOOP)
        pauses.append(crashes.until - now)
        alarms.append(crashes.looping(LOOP))
        now = crashes.until
    assert pauses == [0.5, 1.0, 2.0, 3.0, 3.0]
    assert alarms == [False, False, True, True, True]


def test_one_that_had_worked_is_replaced_at_once() -> None:
    assert ended(Crashes(), 100.0, 95.0, LOOP) == Crashes()
    assert ended(Crashes(), 100.0, 95.1, LOOP).row == 1


def test_a_row_ends_when_a_later_one_lasts_not_by_those_from_before() -> None:
    crashes = ended(ended(Crashes(), 100.0, None, LOOP), 101.0, None, LOOP)
    assert lasted(crashes, 110.0, 50.0, LOOP) == crashes
    assert lasted(crashes, 106.9, 102.5, LOOP) == crashes
    assert lasted(crashes, 108.0, 102.5, LOOP) == Crashes()


def test_an_exponent_never_overflows() -> None:
    assert ended(Crashes(row=5000), 0.0, None, LOOP).until == 3.0
