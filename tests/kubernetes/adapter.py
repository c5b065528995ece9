"""What the adapter of Prometheus tells the autoscaler, by the rules that `manifests` writes for its chart."""

from collections.abc import Mapping
from typing import Any

import httpx

from tests.kubernetes.extension import VERSION, Answer, Body, now

EXTERNAL = "external.metrics.k8s.io"


def metrics(values: Mapping[str, Any], prometheus: str) -> dict[str, Answer]:
    """The group of the API; `values` are those of the adapter's chart."""
    rules = {rule["name"]["as"]: rule for rule in values["rules"]["external"]}

    def external(words: list[str], selector: str) -> Body:
        if not words:
            return _resources(EXTERNAL, "ExternalMetricValueList", list(rules))
        _, namespace, name = words
        items = [
            {"metricName": name, "timestamp": now(), "value": f"{round(float(sample['value'][1]) * 1000)}m"}
            for sample in _samples(prometheus, _query(rules[name], namespace, selector))
        ]
        return {"kind": "ExternalMetricValueList", "apiVersion": f"{EXTERNAL}/{VERSION}", "items": items}

    return {EXTERNAL: external}


def _resources(group: str, kind: str, names: list[str]) -> Body:
    known = [{"name": name, "singularName": "", "namespaced": True, "kind": kind, "verbs": ["get"]} for name in names]
    return {"kind": "APIResourceList", "groupVersion": f"{group}/{VERSION}", "resources": known}


def _query(rule: Mapping[str, Any], namespace: str, selector: str) -> str:
    """The rule's template, filled in as the adapter does."""
    wanted = [f"namespace={namespace}", *selector.split(",")]
    matchers = ",".join(f'{name}="{text}"' for name, _, text in (each.partition("=") for each in wanted if each))
    series = rule["seriesQuery"].partition("{")[0]
    query: str = rule["metricsQuery"].replace("<<.Series>>", series).replace("<<.LabelMatchers>>", matchers)
    return query


def _samples(prometheus: str, query: str) -> list[dict[str, Any]]:
    answer = httpx.get(f"{prometheus}/api/v1/query", params={"query": query}).json()
    found: list[dict[str, Any]] = answer["data"]["result"]
    return found
