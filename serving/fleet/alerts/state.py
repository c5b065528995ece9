"""Figures of the fleet as a whole, kept under names of their own: what alerts, dashboard and autoscalers read."""

from typing import Any

from serving.fleet.alerts.watched import PREDICTING, Watched

LOAD, READY, RECOMMENDED = "pnol:load", "pnol:replicas:ready", "pnol:replicas:recommended"
QUEUE, REQUESTS = "pnol:queue:seconds", "pnol:replica:requests"
INPUT_DRIFT, CALIBRATION_DRIFT = "pnol:input_drift:p", "pnol:calibration_drift:p"


def recorded(watched: Watched) -> list[dict[str, Any]]:
    """Replicas that are ready and that the load calls for, the load and the queue of each, p-values of no drift."""
    select, settings = watched.select, watched.settings
    requests = select("pnol_requests_total", endpoint=PREDICTING)
    queue = f"{select('pnol_engine_waiting_seconds')} / {select('pnol_workers')}"
    return [
        watched.record(READY, f"count(max by (instance) ({select('pnol_model_ready')}) == 1) or vector(0)"),
        watched.record(QUEUE, queue),
        watched.record(
            LOAD,
            f"avg without (worker) ({select('pnol_engine_utilisation')}) "
            f"+ {select(QUEUE)} / {settings.utilisation_window:g}",
        ),
        watched.record(RECOMMENDED, _recommended(watched)),
        watched.record(REQUESTS, f"sum by (instance, namespace) (rate({requests}[1m]))"),
        watched.record(INPUT_DRIFT, _least(select("pnol_input_drift_p"), "model, version")),
        watched.record(CALIBRATION_DRIFT, _least(select("pnol_calibration_drift_p"), "model, version, level")),
    ]


def _recommended(watched: Watched) -> str:
    """The formula of `GET /monitoring/scaling`, for all replicas together, within the fleet's limits."""
    wanted = f"ceil(sum({watched.select(LOAD)}) / {watched.settings.utilisation_target:g})"
    least = f"clamp_min({wanted}, {watched.minimum})"
    return least if watched.maximum is None else f"clamp_max({least}, {watched.maximum})"


def _least(figure: str, labels: str) -> str:
    """The p-value of all replicas: the least of theirs, times their number (Bonferroni)."""
    return f"clamp_max(min by ({labels}) ({figure}) * count by ({labels}) ({figure}), 1)"
