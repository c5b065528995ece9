"""Simulated time agrees with queueing theory, costs what it must, and its command prints what happened."""

import re
from pathlib import Path

import msgspec
import numpy as np
import pytest

from pnol_jax.errors import InputError
from serving.fleet.scaling import Decision, Observation, Scaler, ScalingConfig
from serving.fleet.scaling.config import RequestsConfig, RulesConfig
from serving.fleet.scaling.picture import short
from serving.fleet.scaling.queues import mean_wait
from serving.fleet.scaling.replay import main
from serving.fleet.scaling.simulation import Outcome, replay
from serving.fleet.scaling.traces import MADE, Trace, read_trace
from serving.fleet.scaling.world import World


def steady(rate: float, seconds: float) -> Trace:
    return Trace("steady", np.zeros(1), np.full(1, rate), seconds)


def still(seen: Observation) -> Decision:
    return Decision(seen.time, seen.replicas, seen.replicas, "")


@pytest.mark.parametrize(("servers", "load"), [(1, 0.7), (4, 3.2)])
@pytest.mark.parametrize("variability", [1.0, 0.0])
def test_waits_are_those_of_the_textbook(servers: int, load: float, variability: float) -> None:
    world = World(service_seconds=0.5, variability=variability, read_seconds=100.0)
    runs = (replay(steady(load / 0.5, 8000.0), still, world, servers, seed).responses for seed in range(8))
    waits = [float(responses[np.isfinite(responses)].mean()) - 0.5 for responses in runs]
    expected = mean_wait(servers, load, 0.5, variability)
    error = np.std(waits, ddof=1) / np.sqrt(len(waits))
    exact = servers == 1 or variability == 1  # M/M/c and M/D/1; Allen and Cunneen's is an approximation
    assert abs(np.mean(waits) - expected) < 4 * error + (0 if exact else 0.15 * expected)


def test_a_batch_multiplies_what_a_replica_can_do() -> None:
    world = World(service_seconds=1.0, variability=0.0, batch=4, marginal=0.25, read_seconds=10.0)
    outcome = replay(steady(2.0, 2000.0), still, world)  # 4 in 1.75 s: 2.29 a second; without batches 1
    assert outcome.quantile(0.99) < 15
    alone = replay(steady(2.0, 2000.0), still, msgspec.structs.replace(world, batch=1))
    assert alone.quantile(0.99) > 500


def test_what_the_policy_sees_is_what_happens() -> None:
    seen: list[Observation] = []

    def note(observation: Observation) -> Decision:
        seen.append(observation)
        return still(observation)

    replay(steady(10.0, 4000.0), note, World(service_seconds=0.25, read_seconds=20.0, window_seconds=400.0), 5)
    late = seen[len(seen) // 2 :]
    assert np.mean([each.requests_per_second or 0 for each in late]) == pytest.approx(10.0, rel=0.05)
    assert np.mean([each.utilisation or 0 for each in late]) == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize(("spares", "delay"), [(0, 30.0), (2, 1.0)])
def test_a_step_waits_for_the_start_and_a_spare_shortens_it(spares: int, delay: float) -> None:
    config = ScalingConfig([RequestsConfig(per_replica=2.0)], RulesConfig(tolerance=0.0), spares=spares)
    trace = Trace("step", np.array([0.0, 100.0]), np.array([1.9, 5.9]), 400.0)
    world = World(start_seconds=30.0, warm_seconds=1.0, read_seconds=1.0, window_seconds=5.0)
    outcome = replay(trace, Scaler(config, 1, 9).decide, world, 1, 3)
    wanted = next(moment.time for moment in outcome.line if moment.time > 100 and moment.desired > 2)
    ready = next(moment.time for moment in outcome.line if moment.time > 100 and moment.ready > 2)
    assert ready - wanted == pytest.approx(delay, abs=1.0)


def test_replica_hours_are_all_replicas_that_are_kept() -> None:
    outcome = replay(steady(1.0, 3600.0), still, World(), 3)
    assert outcome.replica_hours == pytest.approx(3.0)

    def once(seen: Observation) -> Decision:
        return Decision(seen.time, seen.replicas, 2 if seen.time >= 1800 else 1, "", spares=1)

    outcome = replay(steady(1.0, 3600.0), once, World(), 1)
    assert outcome.replica_hours == pytest.approx(1 + 0.5 + 1, rel=2e-3)


def test_requests_without_an_answer_are_late() -> None:
    def none(seen: Observation) -> Decision:
        return Decision(seen.time, seen.replicas, 0, "")

    outcome = replay(steady(5.0, 100.0), none, World(), 1, 1)
    assert outcome.violations > 450
    assert isinstance(outcome, Outcome)


def test_a_seed_is_a_run() -> None:
    runs = [
        replay(MADE["ramp"](5.0, 3), Scaler(ScalingConfig(), 1, 9).decide, World(read_seconds=10.0), 2, seed)
        for seed in (1, 1, 2)
    ]
    assert (runs[0].responses == runs[1].responses).all()
    assert runs[0].line == runs[1].line
    assert len(runs[0].responses) != len(runs[2].responses)


@pytest.mark.parametrize("name", sorted(MADE))
def test_made_traces_reach_their_peak_and_no_more(name: str) -> None:
    trace = MADE[name](20.0, 4)
    assert 10.0 < trace.rates.max() <= 20.0
    assert trace.rates.min() >= 0
    assert (np.diff(trace.times) > 0).all()
    expected = float(np.sum(trace.rates * np.diff(trace.times, append=trace.end)))
    assert len(trace.arrivals(1)) == pytest.approx(expected, abs=5 * np.sqrt(expected))


def test_bursts_are_self_similar() -> None:
    """The variance of means over m seconds falls as m^(2H - 2), H = 0.8: far slower than independent rates' 1/m."""
    slopes = []
    for seed in range(6):
        rates = MADE["burst"](20.0, seed).rates
        spans = np.array([32, 64, 128, 256])
        variances = [rates[: len(rates) // m * m].reshape(-1, m).mean(1).var() for m in spans]
        slopes.append(np.polyfit(np.log(spans), np.log(variances), 1)[0])
    assert -0.75 < float(np.mean(slopes)) < -0.15


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_a_recorded_trace(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"monday.{ending}"
    lines = {
        "csv": "time,requests_per_second\n100,2\n110,4\n130,0.5\n",
        "jsonl": '{"time": 100, "requests_per_second": 2}\n{"time": 110, "requests_per_second": 4}\n\n'
        '{"time": 130, "requests_per_second": 0.5, "errors": 0}\n',
    }
    path.write_text(lines[ending])
    trace = read_trace(path)
    assert (trace.times.tolist(), trace.rates.tolist(), trace.end) == ([0, 10, 30], [2, 4, 0.5], 50)


@pytest.mark.parametrize(
    "text", ["time,rate\n1,2\n", "time,requests_per_second\n1,2\n1,3\n", "time,requests_per_second\n1,x\n2,3\n"]
)
def test_a_trace_that_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(InputError, match="expected"):
        read_trace(path)


def test_the_command_compares_configs_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few, many = tmp_path / "few.toml", tmp_path / "many.toml"
    for path, replicas in ((few, 1), (many, 6)):
        path.write_text(
            f"minimum = {replicas}\nmaximum = {replicas}\n[scaling]\nspares = 0\n"
            '[[scaling.policies]]\nkind = "utilisation"\n'
        )
    picture = tmp_path / "spike.html"
    assert (
        main(
            [
                "spike",
                "--peak",
                "10",
                "--read-seconds",
                "10",
                "--config",
                str(few),
                "--config",
                str(many),
                "--out",
                str(picture),
            ]
        )
        == 0
    )
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[-2:]]
    assert [row[0] for row in rows] == [str(few), str(many)]
    assert int(rows[0][1]) > int(rows[1][1])
    assert float(rows[1][5]) == pytest.approx(6 * float(rows[0][5]))
    drawn = picture.read_text()
    assert drawn.count("<polyline") == 8
    assert drawn.count('stroke-dasharray="4 3"') == 2  # desired, where ready may lie under it
    assert 'name="viewport"' in drawn
    assert re.search(r'<svg [^>]*viewBox="0 0 980 \d+" width="100%"', drawn)


@pytest.mark.parametrize(
    ("value", "text"),
    [(129_300, "129k"), (999.6, "1k"), (999_600, "1M"), (12.34, "12.3"), (0.0512, "0.0512"), (1, "1")],
)
def test_a_label_has_room_before_its_axis(value: float, text: str) -> None:
    assert short(value) == text


def test_requests_that_get_no_answer_are_named_not_counted_as_endless(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "one.toml"
    config.write_text("minimum = 1\nmaximum = 1\n")
    assert main(["spike", "--service-seconds", "60", "--config", str(config)]) == 0
    row = capsys.readouterr().out.splitlines()[-1]
    assert "unanswered" in row
    assert "inf" not in row


@pytest.mark.parametrize("arguments", [["nowhere"], ["ramp", "--batch", "0"], ["ramp", "--set", "scaling.spare=1"]])
def test_what_is_wrong_is_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith("replay: ")
