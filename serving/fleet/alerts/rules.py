"""The rules as Prometheus reads them; the same groups stand in the operator's PrometheusRule."""

from typing import Any

from serving.fleet.alerts import burn, health, state
from serving.fleet.alerts.watched import Watched


def rules(watched: Watched) -> dict[str, Any]:
    """The groups of a rule file: figures first, then what is told of them.

    Raises:
        InputError: an objective that the figures cannot tell of.
    """
    groups = {
        "objectives": [*burn.rates(watched), *burn.shares(watched), *burn.alerts(watched)],
        "health": [*state.recorded(watched), *health.alerts(watched)],
    }
    interval = f"{watched.config.evaluation_seconds}s"
    job = watched.labels["job"]
    return {
        "groups": [{"name": f"{job}-{name}", "interval": interval, "rules": found} for name, found in groups.items()]
    }
