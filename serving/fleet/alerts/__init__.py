"""What a fleet is watched by: rules for Prometheus, a dashboard for Grafana, an example for Alertmanager."""

from serving.fleet.alerts.alertmanager import alertmanager
from serving.fleet.alerts.config import AlertsConfig
from serving.fleet.alerts.dashboard import dashboard
from serving.fleet.alerts.rules import rules
from serving.fleet.alerts.watched import Watched

__all__ = ["AlertsConfig", "Watched", "alertmanager", "dashboard", "rules"]
