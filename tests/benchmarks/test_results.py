"""What benchmarks hand over, and the page that is made of it."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from benchmarks.report import Figure, report
from benchmarks.results import MISSES, NO_REASON, PAGE, benchmarks, page, reason, reasons, verdict

CAUSES = tomllib.loads(MISSES.read_text())["miss"]


@pytest.mark.parametrize(
    ("figure", "met"),
    [
        (Figure("faster", 1.6, "ratio", 1.5), True),
        (Figure("faster", 1.4, "ratio", 1.5), False),
        (Figure("seconds", 2.9, "s", 3.0, less=True), True),
        (Figure("seconds", 3.7, "s", 3.0, less=True), False),
        (Figure("lost", 0.0, "requests", 0.0, at_most=0.0), True),
        (Figure("lost", 1.0, "requests", 0.0, at_most=0.0), False),
        (Figure("coverage", 0.88, "share", 0.9, at_least=0.86, at_most=0.94), True),
        (Figure("coverage", 0.95, "share", 0.9, at_least=0.86, at_most=0.94), False),
        (Figure("nothing", float("nan"), "s", 3.0, less=True), False),
        (Figure("bytes", 3.0, "MB"), None),
    ],
)
def test_a_goal_is_met_from_its_own_side(figure: Figure, met: bool | None) -> None:
    assert figure.met is met


def test_the_page_says_what_was_met_and_by_how_much_not(tmp_path: Path) -> None:
    figures = [
        Figure("vs_triton_c1", 1.2, "ratio", 1.5, interval=(1.1, 1.3)),
        Figure("overhead_ms_p50", 0.29, "ms", 0.35, less=True),
        Figure("plain", 7.0, "MB"),
    ]
    assert report(figures, tmp_path / "serving.json", versions={"triton": "2.0"}) == 0
    written = page({"serving": json.loads((tmp_path / "serving.json").read_text())})
    assert "1 of 2 goals are met." in written
    assert "| `vs_triton_c1` | 1.2 ratio | 1.1 to 1.3 | 1.5 | missed by 20% |" in written
    assert "| `overhead_ms_p50` | 0.29 ms |  | 0.35 | met |" in written
    assert "| `plain` | 7 MB |  |  |  |" in written
    assert "triton 2.0" in written
    absent = written.partition("Not run: ")[2].partition(".")[0]
    assert absent == ", ".join(f"`{name}`" for name in sorted(benchmarks() - {"serving"}))


def test_what_is_missed_has_its_cause() -> None:
    figures = {name: {"value": 1.2, "goal": 1.5, "unit": "ratio", "met": False} for name in ("vs_triton_c1", "other")}
    known, unknown = list(reasons("serving", figures))[:2]
    assert known == f"- `vs_triton_c1`: {reason('serving.vs_triton_c1')}"
    assert "What would change it: a processor of its own" in known
    assert unknown == f"- `other`: {NO_REASON}"
    assert not list(reasons("serving", {"vs_triton_c1": {"value": 2.0, "goal": 1.5, "unit": "ratio", "met": True}}))


@pytest.mark.parametrize("miss", CAUSES)
def test_every_cause_is_of_a_benchmark_and_whole(miss: dict[str, Any]) -> None:
    assert {pattern.split(".")[0] for pattern in miss["figures"]} <= benchmarks()
    assert set(miss) == {"figures", "cause", "change"}
    assert all(miss[each].endswith(".") for each in ("cause", "change"))


def test_the_page_in_the_repository_names_all_causes() -> None:
    if PAGE.exists():
        assert NO_REASON not in PAGE.read_text()


def test_bounds_on_both_sides_are_what_a_figure_is_off_from() -> None:
    figure = {"value": 0.987, "goal": 0.9, "at_least": 0.86, "at_most": 0.94, "met": False}
    assert verdict(figure) == "missed by 5%"
    assert verdict({"value": float("nan"), "goal": 3.0, "met": False}) == "missed: not a number"


def test_no_cause_hides_another() -> None:
    """What a pattern says without its stars is a figure that no pattern before it takes."""
    for miss in CAUSES:
        for pattern in miss["figures"]:
            assert reason(pattern.replace("[0-9]", "1").replace("*", "")).startswith(miss["cause"]), pattern


def test_a_goal_of_nothing_is_missed_by_a_number() -> None:
    assert verdict({"value": 3.0, "goal": 0.0, "met": False}) == "missed by 3"
