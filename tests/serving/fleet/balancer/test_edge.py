"""What clients meet: limits on slow ones, TLS and HTTP/2, ids, paths that are the supervisor's."""

import datetime
import ipaddress
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from serving.derivatives import DerivativesEndpoint
from serving.fleet.balancer import Balancer, render
from serving.predictions import Predictions
from serving.rollouts import RolloutEndpoint
from tests.processes import until
from tests.serving.fleet.balancer.asking import ask
from tests.serving.fleet.balancer.backends import Backend
from tests.serving.fleet.balancer.conftest import Begin

UNSUPERVISED = {"error": "the supervisor does not answer; replicas go on without it"}
HEAD = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n"


@pytest.mark.parametrize("sent", [b"", b"POST /predict HTTP/1.1\r\nhost:", HEAD, HEAD + b"x" * 999])
def test_a_client_that_sends_slowly_is_cut_and_no_replica_hears_of_it(
    begin: Begin, backends: list[Backend], sent: bytes
) -> None:
    balancer = begin(backends[0], head_seconds=0.3)
    with _connected(balancer) as client:
        client.sendall(sent)
        answer = _rest(client)
    assert answer.startswith(b"HTTP/1.1 408 ") or not sent, answer
    assert answer.endswith(b'{"error": "the request did not come in time"}') or not sent.startswith(HEAD)
    assert backends[0].got == []
    assert ask(balancer).text == "a"


def test_a_large_body_that_stops_coming_is_cut(begin: Begin, backends: list[Backend]) -> None:
    """The replica, to which it is sent on, has a limit too; this is where that fails."""
    balancer = begin(backends[0], server_seconds=0.3)
    with _connected(balancer) as client:
        client.sendall(HEAD.replace(b"1000", b"1000000") + b"x" * 500_000)
        assert not _rest(client).startswith(b"HTTP/1.1 200")
    assert backends[0].got == []
    until(lambda: balancer.servers()["a"].open_requests == 0)


def test_a_client_that_does_not_take_its_answer_is_let_go(begin: Begin, backends: list[Backend]) -> None:
    backends[0].answer = bytes(64 * 2**20)
    balancer = begin(backends[0], client_seconds=0.3)
    with _connected(balancer) as client:
        client.sendall(b"GET /predict HTTP/1.1\r\nhost: x\r\n\r\n")
        until(lambda: balancer.servers()["a"].open_requests == 1)
        until(lambda: balancer.servers()["a"].open_requests == 0)
        assert len(_rest(client)) < len(backends[0].answer)


def test_a_silent_replica_is_not_waited_for_without_end(begin: Begin, backends: list[Backend]) -> None:
    balancer = begin(backends[0], server_seconds=0.3)
    backends[0].closed = True
    answer = ask(balancer, content=b"x")
    assert (answer.status_code, answer.json()) == (504, {"error": "the replica did not answer in time"})
    backends[0].closed = False


def test_who_finds_every_replica_full_waits_and_not_for_long(begin: Begin, backends: list[Backend]) -> None:
    balancer = begin(backends[0], max_requests=1, queue_seconds=0.3)
    backends[0].closed = True
    with _connected(balancer) as first:
        first.sendall(b"GET /predict HTTP/1.1\r\nhost: x\r\n\r\n")
        until(lambda: backends[0].held)
        answer = ask(balancer, content=b"x")
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        backends[0].closed = False
        until(lambda: balancer.figures().open_requests == 0)


def test_ids_and_headers_of_requests_stay(begin: Begin, backends: list[Backend]) -> None:
    balancer = begin(backends[0])
    ask(balancer, content=b"x", headers={"x-request-id": "mine", "authorization": "Bearer t", "traceparent": "00-1"})
    [got] = backends[0].got
    assert (got.method, got.path, got.body) == ("POST", "/predict", b"x")
    given = {name: got.headers.get(name) for name in ("x-request-id", "authorization", "traceparent")}
    assert given == {"x-request-id": "mine", "authorization": "Bearer t", "traceparent": "00-1"}


def test_tls_speaks_http_2_and_1(begin: Begin, backends: list[Backend], folder: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("not installed: curl")
    balancer = begin(backends[0], certificate=str(_certificate(folder)))
    assert balancer.url.startswith("https://")
    for flag, version in (("--http2", "2"), ("--http1.1", "1.1")):
        command = ["curl", "-sS", "--cacert", str(folder / "edge.pem"), flag, "-w", " %{http_version}", "-d", "x"]
        done = subprocess.run([*command, balancer.url + "/predict"], capture_output=True, text=True, timeout=30)
        assert (done.stdout, done.stderr) == (f"a {version}", "")


def test_http_2_needs_no_tls(begin: Begin, backends: list[Backend]) -> None:
    if shutil.which("curl") is None:
        pytest.skip("not installed: curl")
    command = ["curl", "-sS", "--http2-prior-knowledge", "-w", " %{http_version}", begin(backends[0]).url + "/predict"]
    assert subprocess.run(command, capture_output=True, text=True, timeout=30).stdout == "a 2"


def test_the_supervisor_answers_for_itself_once_it_is_there(begin: Begin, backends: list[Backend]) -> None:
    a, b, c = backends
    balancer = begin(a)
    assert ask(balancer, "/monitoring/scaling").status_code == 503
    for supervisor in (b, c):  # which may come back elsewhere
        balancer.supervised_at("127.0.0.1", supervisor.server.port)
        for path in (*render.SUPERVISED, "/admin/scale"):
            assert ask(balancer, path).text == supervisor.name
    assert [ask(balancer, path).text for path in ("/monitoring/metrics", "/predict", "/administer")] == ["a", "a", "a"]
    balancer.stop(0)
    balancer.start([a.server])
    assert ask(balancer, "/admin").text == "c"


def test_where_the_supervisor_is_gone_its_paths_say_so_and_replicas_answer(
    begin: Begin, backends: list[Backend]
) -> None:
    a, b, _ = backends
    balancer = begin(a, server_seconds=0.3)
    balancer.supervised_at("127.0.0.1", b.server.port)
    b.closed = True  # it stands still
    assert (ask(balancer, "/monitoring").status_code, ask(balancer, "/monitoring").json()) == (504, UNSUPERVISED)
    b.die()
    for path in ("/monitoring", "/admin/scale"):
        answer = ask(balancer, path)
        assert (answer.status_code, answer.json()) == (503, UNSUPERVISED)
        assert answer.headers["retry-after"] == "1"
    assert ask(balancer).text == "a"


def test_what_may_be_sent_again_is_what_the_service_computes() -> None:
    computing = [*Predictions.paths, *DerivativesEndpoint.paths, *RolloutEndpoint.paths]
    ends = [path for path in computing if path.endswith(render.REPEATABLE_END)]
    assert {*computing} - {*ends} == {*render.REPEATABLE}
    assert len(ends) == 2


def _connected(balancer: Balancer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(balancer.url.rpartition(":")[2])), timeout=20)


def _rest(client: socket.socket) -> bytes:
    """What comes until the other side closes."""
    found, end = bytearray(), time.monotonic() + 20
    try:
        while (part := client.recv(2**16)) and time.monotonic() < end:
            found += part
    except ConnectionResetError:
        pass
    return bytes(found)


def _certificate(folder: Path) -> Path:
    """Of 127.0.0.1, by itself, with its key."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "edge")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(1)).not_valid_after(now + datetime.timedelta(1))
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = builder.add_extension(address, critical=False).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "edge.pem").write_bytes(certificate.public_bytes(pem) + secret)
    return folder / "edge.pem"
