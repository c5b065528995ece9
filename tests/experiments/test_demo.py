"""Each feature of the demonstration shows what it says, and nothing of it is left running."""

import io
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil
import pytest
from matplotlib.figure import FigureBase
from rich.console import Console

from experiments.demo import __main__ as demo
from experiments.demo import autoscaling, recovery
from experiments.demo.features import FEATURES
from experiments.demo.fleets import Watched
from experiments.demo.live import Live
from experiments.demo.load import Sent, send, times
from experiments.demo.page import write_page
from experiments.demo.shown import Drawing, Figure, Shown, Stage
from pnol_jax.errors import InputError
from serving.client import ServingError
from serving.fleet.balancer import process

SMALL = ("training.steps=40", "optimizer.warmup_steps=10", "operator.width=8", "operator.depth=2")


def line(figure: FigureBase) -> None:
    figure.add_subplot().plot([0, 1])


def test_the_page_says_what_was_shown_and_needs_no_other_file(tmp_path: Path) -> None:
    shown = Shown(
        "It <held>.", (Figure("hits", "92%", "of 600"),), (Drawing(line, "a line"),), "Over time.", "Run.", 3.0
    )
    page = write_page(tmp_path, {"caching": "Answers & more"}, {"caching": shown}).read_text()
    for text in (
        "It &lt;held&gt;.",
        "92%",
        "of 600",
        'aria-label="a line"',
        "Over time.",
        "Run. 3 s.",
        "Answers &amp; more",
    ):
        assert text in page
    assert not re.search(r"<(script|link|img)|url\(http|href=\"http|src=", page)


def test_requests_are_due_as_the_rate_has_it() -> None:
    due = times(lambda at: 10.0 if at < 1 else 40.0, 2.0)
    assert sum(at < 1 for at in due) == pytest.approx(10, abs=1)
    assert sum(at >= 1 for at in due) == pytest.approx(
        40, abs=4
    )  # a gap is as long as the rate at its beginning has it
    assert due == sorted(due)


def test_a_request_counts_from_when_it_was_due_and_says_why_it_failed() -> None:
    def fails() -> None:
        raise ServingError("away")

    begun = time.perf_counter() - 5.0  # all of them are late
    good, bad = sorted(send([(0.0, "good"), (1.0, "bad")], {"good": lambda: None, "bad": fails}, begun))[::-1]
    assert (good.kind, good.error) == ("good", "")
    assert (bad.kind, bad.error) == ("bad", "away")
    assert good.seconds >= 5.0
    assert bad.seconds >= 4.0
    assert bad.end >= 5.0


def test_of_what_counts_up_a_file_keeps_the_first_line_and_the_last() -> None:
    written = io.StringIO()
    live = Live(Console(file=written, width=100))
    say = live.begin("Hits")
    for text in ("starting", "1 truth, evidence 1e-05", "2 truths, evidence 0.5", "3 truths, evidence 7", "stopping"):
        say(text)
    for number in (20, 40, 600):
        say(f"{number} of 600 requests")
    live.end(Shown("Done.", (), (), "", ""))
    lines = [line.strip() for line in written.getvalue().splitlines()[1:]]
    assert lines[:6] == [
        "starting",
        "1 truth, evidence 1e-05",
        "3 truths, evidence 7",
        "stopping",
        "20 of 600 requests",
        "600 of 600 requests",
    ]
    assert lines[6] == "Done."


def looked(*looks: tuple[float, int, dict[str, str]]) -> Watched:
    """At these times so many replicas were wanted, and these were there: "serving", or in another phase."""
    return Watched(
        0.0,
        [
            (
                at,
                {
                    "desired": desired,
                    "reason": "more come",
                    "replicas": [
                        {"name": name, "phase": "ready" if phase == "serving" else phase, "serving": phase == "serving"}
                        for name, phase in replicas.items()
                    ],
                },
            )
            for at, desired, replicas in looks
        ],
    )


def test_a_spare_that_takes_over_and_a_replica_that_is_started_are_two_figures() -> None:
    first, spare = {"r1": "serving", "r2": "ready"}, {"r1": "serving", "r2": "serving"}
    seen = looked(
        (1.0, 1, first),
        (2.0, 2, {**spare, "r3": "starting"}),
        (5.0, 2, {**spare, "r3": "warming"}),
        (6.5, 2, {**spare, "r3": "ready"}),
    )
    figures = {each.name: each.value for each in autoscaling._shown([Sent("ask", 0.0, 0.1, "")], seen).figures}
    assert figures["from decision to the spare"] == "at once"
    assert figures["from decision to a cold replica"] == "4.5 s"


def test_a_strength_that_does_not_come_back_names_how_long_was_looked() -> None:
    sent = [Sent(kind, at, 0.01, "") for kind in (recovery.OURS, recovery.BARE) for at in (1.0, 6.0)]
    alone = {"r2": "serving"}
    seen = looked((1.0, 1, {"r1": "serving", "r2": "ready"}), (6.0, 1, alone), (20.0, 1, alone))
    figures = {
        each.name: each.value for each in recovery._shown([*sent, Sent(recovery.DEED, 5.0, 0.0, "")], seen).figures
    }
    assert figures["full strength"] == "not within 15 s"


def test_without_haproxy_it_says_which_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(process, "PLACES", str(tmp_path))
    with pytest.raises(InputError, match="apt-get install haproxy"):
        demo.main(["--feature", "recovery", "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def about_uncertainty(figures: Mapping[str, str]) -> None:
    assert float(figures["cases wholly inside"].rstrip("%")) >= 60
    assert int(figures["strange inputs flagged"].split()[0]) >= 1


def about_caching(figures: Mapping[str, str]) -> None:
    assert figures["hit ratio"] in ("91%", "92%")  # 600 draws of 50 fields


def about_distributed(figures: Mapping[str, str]) -> None:
    assert float(figures["largest difference of a loss"]) < 1e-4
    assert "0 kB" not in figures.values()


def about_ab(figures: Mapping[str, str]) -> None:
    assert 50 <= int(figures["truths until it was taken back"]) <= 300


def about_recovery(figures: Mapping[str, str]) -> None:
    assert figures["lost by our client"] == "0"
    assert "not" not in figures["full strength"]


def about_autoscaling(figures: Mapping[str, str]) -> None:
    assert figures["replicas at the top"] == "3"
    assert figures["failed requests"] == "0"


CHECKS: Mapping[str, Callable[[Mapping[str, str]], None]] = {
    "uncertainty": about_uncertainty,
    "caching": about_caching,
    "distributed": about_distributed,
    "ab": about_ab,
    "recovery": about_recovery,
    "autoscaling": about_autoscaling,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.mark.slow
@pytest.mark.parametrize("name", FEATURES)
def test_a_feature_shows_what_it_says(name: str, folder: Path) -> None:
    if name in demo.NEED_HAPROXY:
        try:
            process.find_haproxy()
        except InputError as error:
            pytest.skip(str(error))
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    said: list[str] = []
    shown = FEATURES[name][1](Stage(folder, said.append, SMALL))
    CHECKS[name]({figure.name: figure.value for figure in shown.figures})
    assert said
    page = write_page(folder, {name: FEATURES[name][0]}, {name: shown}).read_text()
    assert page.count('role="img"') == len(shown.drawings)
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= before
