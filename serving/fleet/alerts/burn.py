"""How fast the objectives' budgets burn: several windows, several rates.

An alert is of a long window, over which a share of the budget is gone, and of a twelfth of it, over which it still
goes, so that it ends soon after its cause. The expensive part, rates over histograms, is computed once over five
minutes; longer windows are sums of what that recorded.

Source: The Site Reliability Workbook (2018), chapter 5, "Multiwindow, Multi-Burn-Rate Alerts".
"""

from dataclasses import dataclass
from typing import Any

from pnol_jax.errors import InputError
from serving.fleet.alerts.watched import ANSWERS, FAILED, PREDICTING, Watched
from serving.monitoring.histogram import SECONDS

BASE = "5m"
HOURS = {BASE: 1 / 12, "30m": 0.5, "1h": 1.0, "2h": 2.0, "6h": 6.0, "1d": 24.0, "3d": 72.0}


@dataclass(frozen=True)
class Pair:
    """Told when `share` of the budget burnt within `long`, and burns as fast within `short`."""

    share: float
    long: str
    short: str
    severity: str

    def rate(self, days: int) -> float:
        """Times as fast as the budget of so many days would last."""
        return self.share * days * 24 / HOURS[self.long]


PAIRS = (
    Pair(0.02, "1h", "5m", "page"),
    Pair(0.05, "6h", "30m", "page"),
    Pair(0.1, "1d", "2h", "ticket"),
    Pair(0.1, "3d", "6h", "ticket"),
)


@dataclass(frozen=True)
class Objective:
    """`key` of the config states the share of `all` that is not `bad`."""

    key: str
    bad: str
    all: str
    alert: str
    what: str

    def share(self, window: str) -> str:
        """The name under which the bad share of a window is recorded."""
        return f"pnol:{self.bad}:share{window}"


FAILURES = Objective("availability", "failures", "requests", "ErrorBudgetBurns", "requests fail")
SLOW = Objective("latency_share", "slow", "answers", "LatencyBudgetBurns", "answers are late")
OBJECTIVES = (FAILURES, SLOW)


def rates(watched: Watched) -> list[dict[str, Any]]:
    """Per second over five minutes: requests and those that failed, answers and those that were late."""
    bound = watched.config.latency_seconds
    if bound not in SECONDS:
        raise InputError(f"alerts.latency_seconds: got {bound:g}, expected a bound of the histogram: {list(SECONDS)}")
    requests = watched.select("pnol_requests_total", endpoint=PREDICTING)
    failures = watched.select("pnol_requests_total", endpoint=PREDICTING, status=FAILED)
    answers = watched.select("pnol_request_seconds_count", endpoint=ANSWERS)
    timely = watched.select("pnol_request_seconds_bucket", endpoint=ANSWERS, le=str(float(bound)).replace(".", "[.]"))
    return [
        watched.record("pnol:requests:rate5m", f"sum(rate({requests}[{BASE}]))"),
        watched.record("pnol:failures:rate5m", f"sum(rate({failures}[{BASE}])) or vector(0)"),
        watched.record("pnol:answers:rate5m", f"sum(rate({answers}[{BASE}]))"),
        watched.record("pnol:slow:rate5m", f"sum(rate({answers}[{BASE}])) - sum(rate({timely}[{BASE}]))"),
    ]


def shares(watched: Watched) -> list[dict[str, Any]]:
    """The bad share of each window."""
    return [
        watched.record(
            of.share(window), " / ".join(_sum(watched, f"pnol:{part}:rate5m", window) for part in (of.bad, of.all))
        )
        for of in OBJECTIVES
        for window in HOURS
    ]


def _sum(watched: Watched, recorded: str, window: str) -> str:
    figure = watched.select(recorded)
    return figure if window == BASE else f"sum_over_time({figure}[{window}])"


def alerts(watched: Watched) -> list[dict[str, Any]]:
    """Of each objective and pair.

    Raises:
        InputError: an objective whose budget is so large that it cannot burn as fast.
    """
    return [_alert(watched, of, pair) for of in OBJECTIVES for pair in PAIRS]


def _alert(watched: Watched, of: Objective, pair: Pair) -> dict[str, Any]:
    rate, stated = pair.rate(watched.config.objective_days), float(getattr(watched.config, of.key))
    threshold = rate * (1 - stated)
    if threshold >= 1:
        raise InputError(
            f"alerts.{of.key}: got {stated:g}, expected more than {1 - 1 / rate:.3g}: all would be too few"
        )
    burns = " and ".join(f"{watched.select(of.share(w))} > {threshold:.6g}" for w in (pair.long, pair.short))
    summary = (
        f"{{{{ $value | humanizePercentage }}}} of {watched.labels['job']}'s {of.what} in {pair.long}, "
        f"{pair.share:.0%} of the budget of {watched.config.objective_days} days"
    )
    return watched.alert(of.alert, burns, pair.severity, summary, window=pair.long)
