"""What the rules are about: whose figures, and the numbers they are held against."""

from dataclasses import dataclass
from typing import Any

from serving.fleet.alerts.config import AlertsConfig
from serving.settings import Settings

# Endpoints that answer a request at once; a rollout's time is that of all its steps.
ANSWERS = "/predict|/derivatives|/v2/models/.*/infer|.*/ModelInfer"
PREDICTING = f"{ANSWERS}|/rollout"
FAILED = "5..|INTERNAL|UNAVAILABLE|DEADLINE_EXCEEDED|UNKNOWN"  # the service's fault, of HTTP and of gRPC


@dataclass(frozen=True)
class Watched:
    """A fleet as Prometheus knows it.

    labels: that all its figures have, as `job`.
    settings: of every replica.
    minimum, maximum: replicas; maximum None: not known.
    supervised: by our own supervisor, whose figures have the same labels.
    """

    labels: dict[str, str]
    config: AlertsConfig
    settings: Settings
    minimum: int
    maximum: int | None = None
    supervised: bool = False

    def select(self, metric: str, **more: str) -> str:
        """The figure of this fleet, of labels that match expressions as well."""
        exact = [f'{name}="{value}"' for name, value in self.labels.items()]
        matching = [f'{name}=~"{value}"' for name, value in more.items()]
        return f"{metric}{{{', '.join([*exact, *matching])}}}"

    def record(self, name: str, expression: str) -> dict[str, Any]:
        """A rule that keeps a figure under a name of its own, with the fleet's labels."""
        return {"record": name, "expr": expression, "labels": self.labels}

    def alert(
        self, name: str, expression: str, severity: str, summary: str, *, hold: int = 0, **labels: str
    ) -> dict[str, Any]:
        """A rule that tells somebody; `hold`: seconds for which the expression must be true.

        severity: `page`, now, or `ticket`, this week.
        """
        rule = {
            "alert": name,
            "expr": expression,
            "labels": {**self.labels, "severity": severity, **labels},
            "annotations": {"summary": summary},
        }
        return {**rule, "for": f"{hold}s"} if hold else rule
