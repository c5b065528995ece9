"""The text of `haproxy.cfg`: what is the same as long as HAProxy runs, and the servers that it begins with."""

import json
from collections.abc import Iterable
from pathlib import Path

from serving.fleet.balancer.config import BalancerConfig
from serving.fleet.balancer.server import Held, milliseconds, words

SOCKET = "haproxy.sock"
EDGE, REPLICAS, SUPERVISOR, NOBODY = "edge", "replicas", "supervisor", "nobody"
SUPERVISED = (
    "/admin",
    "/load_balancer",
    "/monitoring",
    "/monitoring/scaling",
    "/monitoring/fleet",
)  # what the supervisor answers itself
SUPERVISED_BELOW = ("/admin/", "/load_balancer/", "/monitoring/page/")
REPEATABLE = ("/predict", "/derivatives", "/rollout")  # beside GET: their answers change nothing
REPEATABLE_END = "/infer"
FEEDBACK, REPLICA_HEADER = "/feedback", "x-replica"
UNKNOWN = "127.0.0.1:1"  # where the supervisor is, until it says so
ERRORS = {
    400: "not an HTTP request",
    408: "the request did not come in time",
    500: "internal error",
    502: "the replica gave no answer",
    503: "no replica can answer now",
    504: "the replica did not answer in time",
}
UNSUPERVISED = "the supervisor does not answer; replicas go on without it"


def render(config: BalancerConfig, folder: Path, bind: str, servers: Iterable[Held], supervisor: str | None) -> str:
    """The whole file.

    Args:
        config: of the balancer.
        folder: of the fleet, where the socket of the Runtime API is.
        bind: the address to listen on, as HAProxy writes it.
        servers: that are there from the beginning.
        supervisor: HOST:PORT of its own service.
    """
    sections = [
        _global(config, folder),
        _defaults(config),
        _edge(config, bind),
        _replicas(config, servers),
        _supervisor(supervisor, config),
        _nobody(config),
    ]
    return "\n".join("\n    ".join(section) + "\n" for section in sections)


def _global(config: BalancerConfig, folder: Path) -> list[str]:
    return [
        "global",
        f"stats socket {quoted(folder / SOCKET)} mode 600 level admin",
        f"maxconn {config.max_connections}",
        f"nbthread {config.threads}",
        f"hard-stop-after {milliseconds(config.drain_seconds)}",
        f"tune.bufsize {config.buffer_bytes}",
        "ssl-default-bind-options ssl-min-ver TLSv1.2",
        "httpclient.ssl.verify none",  # it asks nobody itself; to read the system's certificates took most of its start
    ]


def _defaults(config: BalancerConfig) -> list[str]:
    return [
        "defaults",
        "mode http",
        f"timeout http-request {milliseconds(config.head_seconds)}",
        f"timeout client {milliseconds(config.client_seconds)}",
        f"timeout http-keep-alive {milliseconds(config.keep_alive_seconds)}",
        f"timeout connect {milliseconds(config.connect_seconds)}",
        f"timeout queue {milliseconds(config.queue_seconds)}",
        f"timeout server {milliseconds(config.server_seconds)}",
        f"timeout check {milliseconds(config.check_timeout_seconds)}",
        *(f"http-error status {status} {_said(said, config, status)}" for status, said in ERRORS.items()),
    ]


def _edge(config: BalancerConfig, bind: str) -> list[str]:
    tls = f" ssl crt {quoted(Path(config.certificate).resolve())} alpn h2,http/1.1" if config.certificate else ""
    return [
        f"frontend {EDGE}",
        f"bind {bind}{tls}",
        f"maxconn {config.max_connections}",
        # whatever answers says the request's id, as a replica does
        "http-request set-var(txn.id) req.hdr(x-request-id)",
        "http-request set-var(txn.id) req.hdr(idempotency-key) if { req.hdr(idempotency-key) -m found }",
        "http-after-response set-header x-request-id %[var(txn.id)] "
        "if { var(txn.id) -m len gt 0 } ! { res.hdr(x-request-id) -m found }",
        f"use_backend {SUPERVISOR} if {{ path {' '.join(SUPERVISED)} }}",
        f"use_backend {SUPERVISOR} if {{ path_beg {' '.join(SUPERVISED_BELOW)} }}",
        f"use_backend {NOBODY} if {{ nbsrv({REPLICAS}) lt 1 }}",
        f"default_backend {REPLICAS}",
    ]


def _replicas(config: BalancerConfig, servers: Iterable[Held]) -> list[str]:
    return [
        f"backend {REPLICAS}",
        *_balance(config),
        "option httpchk GET /health/ready",
        "http-check expect status 200",
        "option http-buffer-request",  # a slow client keeps nobody busy, and what was sent can be sent again
        "http-reuse always",
        f"retries {config.retries}",
        "option redispatch 1",
        "retry-on conn-failure empty-response",
        f"http-response set-header {REPLICA_HEADER} %[srv_name]",
        # only the replica that gave an answer remembers what it was asked
        f"use-server %[req.hdr({REPLICA_HEADER})] if {{ path {FEEDBACK} }} {{ req.hdr({REPLICA_HEADER}) -m found }}",
        f"acl repeatable path {' '.join(REPEATABLE)}",
        f"acl repeatable path_end {REPEATABLE_END}",
        "http-request disable-l7-retry unless METH_GET or repeatable",
        *(f"server {each.server.name} {words(each, config)}{_closed(each)}" for each in servers),
    ]


def _balance(config: BalancerConfig) -> list[str]:
    ring = ["hash-type consistent wt6 avalanche"]
    match config.method:
        case "round_robin" | "weighted":
            return ["balance roundrobin"]
        case "least_connections" | "performance":
            return ["balance leastconn"]
        case "cache":  # without a body, by turns
            body = f"balance hash req.body,bytes(0,{config.cache_bytes}),xxh64"
            return [body, *ring, f"hash-balance-factor {config.cache_overload}"]
        case "sticky":
            header = f"req.hdr({config.sticky_header})"
            named = f"http-request set-var(txn.client) {header} if {{ {header} -m found }}"
            return ["http-request set-var(txn.client) src", named, "balance hash var(txn.client)", *ring]


def _supervisor(address: str | None, config: BalancerConfig) -> list[str]:
    return [
        f"backend {SUPERVISOR}",
        *(f"http-error status {status} {_said(UNSUPERVISED, config, status)}" for status in (502, 503, 504)),
        f"server {SUPERVISOR} {address or f'{UNKNOWN} disabled'}",
    ]


def _nobody(config: BalancerConfig) -> list[str]:
    """Where requests go, and are counted, while there is no replica."""
    return [f"backend {NOBODY}", f"http-request return status 503 {_said(ERRORS[503], config, 503)}"]


def _said(message: str, config: BalancerConfig, status: int) -> str:
    """An error in the shape of the service's own."""
    retry = f" hdr retry-after {config.retry_after_seconds}" if status == 503 else ""
    return f"content-type application/json string '{json.dumps({'error': message})}'{retry}"


def _closed(held: Held) -> str:
    return "" if held.admin == "ready" else " disabled"


def quoted(path: Path) -> str:
    """A path as one word: HAProxy expands nothing between single quotes."""
    return "'" + str(path).replace("'", "'\\''") + "'"
