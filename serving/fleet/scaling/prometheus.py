"""Values of queries from a Prometheus server (its HTTP API, `GET /api/v1/query`)."""

import http.client
import json
import math
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

LIMIT_BYTES = 2**20  # of an answer


class Unreadable(Exception):
    """A query has no value now: the server cannot be reached, refuses it, or has no single number for it."""


def query(address: str, expression: str, seconds: float) -> float:
    """The value of an expression: a scalar, or a vector of one element.

    Args:
        address: of the server, as http://127.0.0.1:9090
        expression: in PromQL
        seconds: to wait for the server, at each step

    Raises:
        Unreadable: there is no such value, and why.
    """
    url = f"{address.rstrip('/')}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
    try:
        try:
            answer = urllib.request.urlopen(url, timeout=seconds)
        except urllib.error.HTTPError as refusal:  # which says why in the same form
            answer = refusal
        with answer:
            body = answer.read(LIMIT_BYTES)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise Unreadable(f"prometheus {address}: {error}") from None
    return _value(_data(body, f"prometheus {address}, query {expression!r}"), f"query {expression!r}")


def read(address: str, queries: Mapping[str, str], seconds: float) -> tuple[dict[str, float], list[str]]:
    """Values by name of the queries that have one, for `Observation.metrics`, and what is wrong with the others."""
    values, faults = dict[str, float](), []
    for name, expression in queries.items():
        try:
            values[name] = query(address, expression, seconds)
        except Unreadable as error:
            faults.append(f"{name}: {error}")
    return values, faults


def _data(body: bytes, where: str) -> Mapping[str, Any]:
    try:
        answer = json.loads(body)
        if answer["status"] == "success":
            return dict(answer["data"])
        said = answer["error"]
    except (ValueError, KeyError, TypeError):
        raise Unreadable(f"{where}: got {body[:80]!r}, expected the JSON of its API") from None
    raise Unreadable(f"{where}: {said}")


def _value(data: Mapping[str, Any], where: str) -> float:
    kind: Any = data.get("resultType")
    result: Any = data.get("result")
    try:
        if kind == "vector":
            (element,) = list(result)
            result = element["value"]
        _, number = list(result)
        value = float(number)
    except (ValueError, KeyError, TypeError):
        size = len(result) if isinstance(result, list) else 0
        raise Unreadable(f"{where}: got a {kind} of {size} elements, expected a scalar or a vector of one") from None
    if not math.isfinite(value):
        raise Unreadable(f"{where}: got {value}, expected a finite number")
    return value
