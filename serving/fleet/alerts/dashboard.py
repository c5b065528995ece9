"""The dashboard as Grafana's classic JSON model has it: rows of panels, each queried from a source that one chooses."""

from collections.abc import Sequence
from typing import Any

from serving.fleet.alerts.panels import Panel, panels
from serving.fleet.alerts.watched import Watched

SCHEMA = 42  # version of the model
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS, WIDTH, HEIGHT = 3, 8, 8  # of Grafana's 24 columns


def dashboard(watched: Watched) -> dict[str, Any]:
    """The dashboard of one fleet."""
    job = watched.labels["job"]
    return {
        "uid": f"pnol-{job}",
        "title": f"Fleet {job}",
        "tags": ["pnol"],
        "schemaVersion": SCHEMA,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": []},
        "templating": {
            "list": [{"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}]
        },
        "panels": _placed(panels(watched)),
    }


def queries(shown: dict[str, Any]) -> list[str]:
    """Every expression of a dashboard."""
    return [target["expr"] for panel in shown["panels"] for target in panel.get("targets", ())]


def _placed(rows: dict[str, tuple[Panel, ...]]) -> list[dict[str, Any]]:
    """Each row's head, and below it its panels from left to right."""
    found: list[dict[str, Any]] = []
    top = 0
    for title, row in rows.items():
        place = {"h": 1, "w": COLUMNS * WIDTH, "x": 0, "y": top}
        found.append(
            {"id": len(found) + 1, "type": "row", "title": title, "collapsed": False, "gridPos": place, "panels": []}
        )
        for number, panel in enumerate(row):
            down, right = divmod(number, COLUMNS)
            place = {"h": HEIGHT, "w": WIDTH, "x": right * WIDTH, "y": top + 1 + down * HEIGHT}
            found.append({"id": len(found) + 1, "gridPos": place, **_panel(panel)})
        top += 1 + -(-len(row) // COLUMNS) * HEIGHT
    return found


def _panel(panel: Panel) -> dict[str, Any]:
    return {
        "type": "timeseries",
        "title": panel.title,
        "datasource": SOURCE,
        "targets": _targets(panel.queries),
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, "custom": {"lineWidth": 1}}, "overrides": []},
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    }


def _targets(found: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    return [
        {
            "refId": chr(ord("A") + number),
            "datasource": SOURCE,
            "expr": expression,
            "legendFormat": legend,
            "range": True,
        }
        for number, (expression, legend) in enumerate(found)
    ]
