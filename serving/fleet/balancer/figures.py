"""What HAProxy knows of its servers and of all requests, read from its tables. Totals begin anew when it does."""

import csv
from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from serving.fleet.balancer.render import EDGE, NOBODY, REPLICAS
from serving.fleet.balancer.runtime import Runtime
from serving.fleet.balancer.server import WEIGHT, Admin

Row: TypeAlias = Mapping[str, str]
MAINTENANCE, DRAINING = 0x01 | 0x02 | 0x20, 0x08  # of `srv_admin_state`
ENABLED = 0x04  # of `srv_agent_state`
DOWN = "0"  # of `srv_op_state`


class ServerState(msgspec.Struct, frozen=True):
    """A server as HAProxy sees it.

    `up`: whether checks say that it answers; `check`: what the last one found (`L7OK`, `L4CON`, `L7STS`, ...). `share`
    is what was set or what the agent said; `effective_share` is less while it starts slowly, and 0 where it gets
    nothing. Seconds are means over its last 1024 requests.
    """

    host: str
    port: int
    admin: Admin
    up: bool
    check: str
    share: float
    effective_share: float
    open_requests: int
    queue: int
    requests: int
    errors_5xx: int
    connect_errors: int
    retries: int
    queue_seconds: float
    response_seconds: float
    seconds: float
    id: int
    agent_port: int | None
    agent_asked: bool


class BalancerFigures(msgspec.Struct, frozen=True):
    """All requests. Rates are over the last second, seconds means over the last 1024 requests.

    `unserved`: those that found no replica; while there is none, each tells that somebody asks.
    """

    requests: int
    requests_per_second: float
    open_connections: int
    open_requests: int
    queue: int
    errors_4xx: int
    errors_5xx: int
    connect_errors: int
    retries: int
    redispatches: int
    unserved: int
    queue_seconds: float
    response_seconds: float
    seconds: float
    uptime_seconds: float


def servers(runtime: Runtime) -> dict[str, ServerState]:
    """Every server by its name.

    Raises:
        Unreachable: HAProxy is not there, or stands still.
    """
    found = {row["svname"]: row for row in _rows(runtime.ask(f"show stat {REPLICAS} 4 -1"))}
    _, names, *lines = runtime.ask(f"show servers state {REPLICAS}").splitlines()
    states = [dict(zip(names.removeprefix("# ").split(), line.split(), strict=True)) for line in lines if line]
    known = [state for state in states if state["srv_name"] in found]  # one may have come between the two tables
    return {state["srv_name"]: _state(state, found[state["srv_name"]]) for state in known}


def figures(runtime: Runtime) -> BalancerFigures:
    """All requests since HAProxy began.

    Raises:
        Unreachable: it is not there, or stands still.
    """
    rows = {(row["pxname"], row["svname"]): row for row in _rows(runtime.ask("show stat -1 3 -1"))}
    edge, replicas, nobody = rows[EDGE, "FRONTEND"], rows[REPLICAS, "BACKEND"], rows[NOBODY, "BACKEND"]
    return BalancerFigures(
        requests=_number(edge, "req_tot"),
        requests_per_second=_number(edge, "req_rate"),
        open_connections=_number(edge, "scur"),
        open_requests=_number(replicas, "scur"),
        queue=_number(replicas, "qcur"),
        errors_4xx=_number(edge, "hrsp_4xx"),
        errors_5xx=_number(edge, "hrsp_5xx"),
        connect_errors=_number(replicas, "econ"),
        retries=_number(replicas, "wretr"),
        redispatches=_number(replicas, "wredis"),
        unserved=_number(nobody, "stot"),
        queue_seconds=_seconds(replicas, "qtime"),
        response_seconds=_seconds(replicas, "rtime"),
        seconds=_seconds(replicas, "ttime"),
        uptime_seconds=float(runtime.information()["Uptime_sec"]),
    )


def _state(state: Row, row: Row) -> ServerState:
    agent = int(state["srv_agent_port"])
    return ServerState(
        host=state["srv_addr"],
        port=int(state["srv_port"]),
        admin=_admin(int(state["srv_admin_state"])),
        up=state["srv_op_state"] != DOWN,
        check=row["check_status"].removeprefix("* "),  # one is under way
        share=int(state["srv_uweight"]) / WEIGHT,
        effective_share=_number(row, "weight") / WEIGHT if state["srv_op_state"] != DOWN else 0.0,
        open_requests=_number(row, "scur"),
        queue=_number(row, "qcur"),
        requests=_number(row, "stot"),
        errors_5xx=_number(row, "hrsp_5xx"),
        connect_errors=_number(row, "econ"),
        retries=_number(row, "wretr"),
        queue_seconds=_seconds(row, "qtime"),
        response_seconds=_seconds(row, "rtime"),
        seconds=_seconds(row, "ttime"),
        id=int(state["srv_id"]),
        agent_port=agent or None,
        agent_asked=bool(int(state["srv_agent_state"]) & ENABLED),
    )


def _admin(mask: int) -> Admin:
    if mask & MAINTENANCE:
        return "maint"
    return "drain" if mask & DRAINING else "ready"


def _rows(table: str) -> list[Row]:
    return list(csv.DictReader(table.removeprefix("# ").splitlines()))


def _number(row: Row, name: str) -> int:
    return int(row[name] or 0)


def _seconds(row: Row, name: str) -> float:
    return _number(row, name) / 1000
