"""An example for Alertmanager: pages at once and again each hour, tickets once a day."""

from typing import Any

from serving.fleet.alerts.config import AlertsConfig


def alertmanager(config: AlertsConfig) -> dict[str, Any]:
    """Its config: one message for all alerts of a name; who is told, a person puts in the webhook's place."""
    pages = {"matchers": ['severity="page"'], "receiver": "page", "group_wait": "5s", "repeat_interval": "1h"}
    return {
        "route": {
            "receiver": "ticket",
            "group_by": ["job", "alertname"],
            "group_wait": "1m",
            "group_interval": "5m",
            "repeat_interval": "24h",
            "routes": [pages],
        },
        "inhibit_rules": [  # where nothing answers, the rest is its consequence
            {
                "source_matchers": ['alertname="NoReplicaReady"'],
                "target_matchers": ['alertname=~"ReplicasMissing|ErrorBudgetBurns|LatencyBudgetBurns"'],
                "equal": ["job"],
            }
        ],
        "receivers": [
            {"name": name, "webhook_configs": [{"url": config.webhook, "send_resolved": True}]}
            for name in ("page", "ticket")
        ],
    }
