"""One ledger for whoever brings truths: each counts once, one at a time acts, and a request is carried bit for bit."""

import itertools
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from msgspec import msgpack

from pnol_jax.errors import InputError
from serving.query import Options, Query
from serving.releases import kept
from serving.releases.kept import KeptLedgers
from serving.releases.ledger import Account, Event, Scored
from serving.releases.ledgers import Ledgers
from serving.releases.memory import Asked
from serving.releases.packing import pack_asked, unpack_asked
from serving.releases.tally import LOST, Scores
from serving.rule import Rule

RULE, PAIR = Rule(minimum=3), ("1", "2")
DONE = Event("2026-01-01T00:00:00+00:00", "roll_back", "because", None)


def truths(count: int) -> list[Scored]:
    """Of which each says that version 2 is worse."""
    generator = np.random.default_rng(0)
    drawn = [Scores(*map(float, generator.uniform(0, 1, 4))) for _ in range(count)]
    return [Scored("m", b"%d" % number, {"1": scores, "2": LOST}, RULE, PAIR) for number, scores in enumerate(drawn)]


def account(ledgers: Ledgers) -> Account:
    """As a worker gets it."""
    return msgpack.decode(msgpack.encode(ledgers.accounts()["m"]), type=Account)


def test_truths_of_several_come_to_what_they_come_to_of_one_and_count_once() -> None:
    one, several = Ledgers(100), Ledgers(100)
    for scored, by in zip(truths(40), itertools.cycle([1, 2, 3]), strict=False):
        first = several.count(scored, by)
        assert first.new == one.count(scored).new == ["1", "2"]
        again = several.count(scored, by + 1)  # the client got no answer, and asked another
        assert (again.new, again.decision) == ([], None)
    assert account(one) == account(several)
    assert account(several).versions["2"].truths == 40
    assert account(several).versions["2"].misses == {}
    assert sum(account(several).versions["1"].misses[0.9].counts) == 40


def test_one_at_a_time_carries_a_decision_out_and_who_ends_leaves_it_to_another() -> None:
    ledgers = Ledgers(100)
    decisions = [ledgers.count(scored, by=number) for number, scored in enumerate(truths(6))]
    assert [counted.decision is not None for counted in decisions].count(True) == 1
    by = next(number for number, counted in enumerate(decisions) if counted.decision)
    later = truths(12)[6:]
    ledgers.abandon(by + 1)  # not the one that acts
    assert ledgers.count(later[0], 7).decision is None
    ledgers.abandon(by)
    decision = ledgers.count(later[1], 8).decision
    assert decision is not None
    assert (decision.action, decision.comparison.truths, decision.error) == ("roll_back", 8, None)
    ledgers.conclude("m", None)
    assert ledgers.count(later[2], 9).decision is not None  # where the label still says so
    ledgers.conclude("m", DONE)
    assert account(ledgers).events == [DONE]


def test_a_request_is_carried_bit_for_bit() -> None:
    generator = np.random.default_rng(0)
    grid = (np.sort(generator.random(5)), np.linspace(0, 1, 4, dtype=np.float32))
    for inputs in (generator.random((5, 4, 2)), generator.random((5, 4), np.float32)[:, ::-1]):
        query = Query(Options(id="mine", level=0.8, seed=3), inputs, (5, 4), grid)
        found = unpack_asked(pack_asked(Asked(query, "m", "7")))
        assert (found.model, found.version, found.query.options, found.query.shape) == ("m", "7", query.options, (5, 4))
        assert found.query.coordinates is not None
        for got, expected in zip((found.query.inputs, *found.query.coordinates), (inputs, *grid), strict=True):
            assert got.dtype == expected.dtype
            np.testing.assert_array_equal(got, expected)
        assert found.is_like(Asked(query, "m", "7"))
        assert not found.is_like(Asked(Query(query.options, inputs, (5, 4), (grid[0] / 2, grid[1])), "m", "7"))


@pytest.mark.parametrize("module", ["jax", "numpy", "prometheus_client"])
def test_the_parent_of_several_workers_stays_light(module: str) -> None:
    """It holds the ledgers, and starts workers the sooner the less it imports."""
    code = f"import sys, serving.__main__; assert {module!r} not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_ledgers_in_a_folder_are_those_of_one_process_for_all_that_share_it(tmp_path: Path) -> None:
    one, shared = Ledgers(100), [KeptLedgers(100, tmp_path) for _ in range(3)]
    for scored, ledgers in zip(truths(40), itertools.cycle(shared), strict=False):
        mine, theirs = one.count(scored), ledgers.count(scored)
        assert mine == theirs
        if mine.decision is not None:
            assert all(other.count(scored).decision is None for other in shared)
    successor = KeptLedgers(100, tmp_path)
    assert successor.accounts() == one.accounts()
    for ledgers in (one, successor):
        ledgers.conclude("m", DONE)
    assert shared[0].accounts() == one.accounts()
    assert successor.count(truths(41)[-1]) == one.count(truths(41)[-1])


def test_many_at_once_lose_no_truth(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda scored: KeptLedgers(100, tmp_path).count(scored), truths(60)))
    assert KeptLedgers(100, tmp_path).accounts()["m"].comparisons[0].truths == 60


def test_a_decision_that_nobody_carried_out_is_left_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledgers = KeptLedgers(100, tmp_path)
    assert [ledgers.count(scored).decision is not None for scored in truths(6)].count(True) == 1
    later = truths(8)[6:]
    assert KeptLedgers(100, tmp_path).count(later[0]).decision is None
    monkeypatch.setattr(kept, "LEASE", -1.0)
    assert KeptLedgers(100, tmp_path).count(later[1]).decision is not None


def test_a_folder_that_holds_nonsense_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "m.ledger").write_bytes(b"nonsense")
    ledgers = KeptLedgers(100, tmp_path)
    assert ledgers.count(truths(1)[0]).new == ["1", "2"]
    assert ledgers.accounts()["m"].versions["2"].truths == 1


def test_a_folder_that_is_removed_is_made_again_and_one_that_cannot_be_made_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledgers = KeptLedgers(100, tmp_path / "kept")
    one, two, three = truths(3)
    ledgers.count(one)
    shutil.rmtree(tmp_path / "kept")
    ledgers.count(two)
    assert ledgers.accounts()["m"].versions["2"].truths == 1
    shutil.rmtree(tmp_path / "kept")
    (tmp_path / "kept").write_bytes(b"")
    assert ledgers.count(three).new == ["1", "2"]  # the truth is answered, and not kept
    assert "a truth is not kept" in caplog.text
    with pytest.raises(InputError, match="ledgers: "):
        KeptLedgers(100, tmp_path / "kept")
