"""Tokens: who has none is not let in, scopes and rates hold, and the file counts as it is now."""

import contextlib
import datetime
import hashlib
import http.client
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from pnol_jax.errors import InputError
from serving import access, tokens
from serving.access import Guard, scope_of
from serving.refusals import Forbidden, TooMany, Unauthorized
from serving.tokens import Tokens, main, read_tokens
from tests import heat
from tests.serving.conftest import Server, running

FIELD = heat.wave(heat.grid(12), 1)[0].tolist()


def write(path: Path, **holders: str) -> Path:
    """A file of tokens that are their holders' names with "-secret"; what else each section says."""
    sections = []
    for name, more in holders.items():
        digest = hashlib.sha256(f"{name}-secret".encode()).hexdigest()
        sections.append(f'[{name}]\nsha256 = "{digest}"\n{more}\n')
    path.write_text("\n".join(sections))
    return path


def bearer(name: str) -> list[tuple[bytes, bytes]]:
    return [(b"host", b"x"), (b"authorization", f"Bearer {name}-secret".encode())]


@pytest.fixture
def guard(tmp_path: Path) -> Guard:
    return Guard(
        write(
            tmp_path / "tokens.toml",
            reader='scopes = ["read"]',
            asker='scopes = ["predict", "read"]',
            gone='scopes = ["read"]\nexpires = 2020-01-01',
            today=f'scopes = ["read"]\nexpires = {datetime.datetime.now(datetime.UTC).date()}',
            slow='scopes = ["predict"]\nrate = 2.0',
        )
    )


@pytest.mark.parametrize(
    ("path", "scope"),
    [
        ("/health", None),
        ("/v2/health/live", None),
        ("/predict", "predict"),
        ("/feedback", "predict"),
        ("/rollout", "predict"),
        ("/derivatives", "predict"),
        ("/v2/models/darcy/infer", "predict"),
        ("/v2/models/darcy/versions/2/infer", "predict"),
        ("/v2/repository/models/darcy/load", "manage"),
        ("/v2/repository/index", "read"),
        ("/models", "read"),
        ("/monitoring/metrics", "read"),
        ("/anything/else", "read"),
    ],
)
def test_every_endpoint_has_a_scope(path: str, scope: str | None) -> None:
    assert scope_of(path) == scope


def test_a_token_lets_in_what_its_scopes_say(guard: Guard) -> None:
    guard.admit("/health", [])
    guard.admit("/models", bearer("reader"))
    guard.admit("/models", bearer("today"))
    guard.admit("/predict", bearer("asker"))
    with pytest.raises(Forbidden, match="this token is for read, expected one for predict"):
        guard.admit("/predict", bearer("reader"))
    with pytest.raises(Forbidden, match="expected one for manage"):
        guard.admit("/v2/repository/models/darcy/load", bearer("asker"))


@pytest.mark.parametrize(
    "headers",
    [
        [],
        bearer("nobody"),
        bearer("gone"),
        [(b"authorization", b"Basic cmVhZGVy")],
        [(b"authorization", b"Bearer")],
        [(b"authorization", b"Bearer \xff\xfe")],
        [(b"authorization", hashlib.sha256(b"reader-secret").hexdigest().encode())],
    ],
)
def test_without_a_token_that_is_known_nobody_is_let_in(guard: Guard, headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(Unauthorized, match="expected 'Bearer TOKEN'"):
        guard.admit("/models", headers)


def test_a_rate_is_kept_and_who_waits_is_let_in_again(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(access.time, "monotonic", lambda: now)
    for _ in range(2):
        guard.admit("/predict", bearer("slow"))
    with pytest.raises(TooMany, match="more than 2 requests a second") as refused:
        guard.admit("/predict", bearer("slow"))
    assert refused.value.retry_after == 1
    now += 0.5
    guard.admit("/predict", bearer("slow"))
    with pytest.raises(TooMany):
        guard.admit("/predict", bearer("slow"))
    guard.admit("/predict", bearer("asker"))


def test_the_file_counts_as_it_is_now_and_a_wrong_one_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "LOOK_SECONDS", 0.0)
    file = write(tmp_path / "tokens.toml", first='scopes = ["read"]')
    held = Tokens(file)
    assert held.find("first-secret")
    write(file, second='scopes = ["read"]', third='scopes = ["read"]')
    assert held.find("first-secret") is None
    assert held.find("second-secret")
    file.write_text("[second]\nsha256 = 5")
    assert held.find("second-secret")
    file.unlink()
    assert held.find("second-secret")


def test_a_token_that_is_made_is_let_in_and_stands_nowhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "tokens.toml"
    assert main([str(file), "alice", "--scopes", "predict"]) == 0
    assert main([str(file), "bob", "--rate", "2"]) == 0
    alice, bob = capsys.readouterr().out.split()
    assert stat.S_ISREG(file.stat().st_mode)
    assert alice not in file.read_text()
    held = Tokens(file)
    found = held.find(alice)
    assert found
    assert (found[0], found[1].scopes) == ("alice", ("predict",))
    assert held.find(bob)[1].rate == 2  # type: ignore[index]
    assert main([str(file), "carol", "--rate", "0"]) == 2
    assert main([str(file), "alice"]) == 2
    assert main([str(file), "a b]"]) == 2
    assert main([str(file), "é³"]) == 2
    assert set(read_tokens(file)) == {"alice", "bob"}


@pytest.mark.parametrize(
    "text", ['[a]\nscopes = ["read"]', '[a]\nsha256 = "00"\nscopes = []', "= =", "[a]\nb = 1", "a = 5"]
)
def test_a_file_that_is_wrong_at_the_start_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "tokens.toml").write_text(text)
    with pytest.raises(InputError, match="tokens"):
        Guard(tmp_path / "tokens.toml")


@pytest.fixture(scope="module")
def closed(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("closed")
    file = write(folder / "tokens.toml", asker='scopes = ["predict"]', reader='scopes = ["read"]')
    flags = ["--batch-sizes", "[1]", "--tokens", str(file), "--grpc-port", "0"]
    with running(small, folder / "errors", *flags) as server:
        yield server


def test_a_service_with_tokens_answers_who_has_one(closed: Server) -> None:
    for path in ("/health", "/v2/health/ready"):
        assert httpx.get(closed.url + path).status_code == 200
    allowed = {"authorization": "Bearer asker-secret"}
    for path in ("/predict", "/v2/models/line/infer"):
        refused = httpx.post(closed.url + path, json={"inputs": FIELD})
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == "Bearer"
    assert httpx.post(f"{closed.url}/predict", json={"inputs": FIELD}, headers=allowed).status_code == 200
    assert httpx.get(f"{closed.url}/models").status_code == 401
    assert httpx.get(f"{closed.url}/models", headers=allowed).status_code == 403
    assert (
        "access-control-allow-origin" not in httpx.get(f"{closed.url}/health", headers={"origin": "http://x"}).headers
    )


def test_grpc_asks_for_the_same_tokens(closed: Server) -> None:
    grpc = pytest.importorskip("grpc")
    address = re.search(r"grpc://(\S+)", closed.ready_line)
    assert address
    with grpc.insecure_channel(address[1]) as channel:

        def call(method: str, token: str | None) -> str:
            ask = channel.unary_unary(f"/inference.GRPCInferenceService/{method}")
            given = () if token is None else (("authorization", f"Bearer {token}"),)
            try:
                ask(b"", metadata=given, timeout=30)
            except grpc.RpcError as error:
                return str(error.code().name)
            return "OK"

        assert call("ServerLive", None) == "OK"
        assert call("ModelInfer", None) == call("ModelInfer", "wrong") == "UNAUTHENTICATED"
        assert call("ModelInfer", "asker-secret") == "INVALID_ARGUMENT"  # let in, and nothing was asked
        assert call("ServerMetadata", "asker-secret") == "PERMISSION_DENIED"


@pytest.mark.parametrize(
    "path", ["/predict/", "//predict", "/rollout/", "/derivatives//", "/v2//models/line/infer/", "/feedback/"]
)
def test_another_spelling_of_a_path_needs_the_same_scope(closed: Server, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", closed.port, timeout=30)  # it sends the path as it stands
    connection.request("POST", path, b"{}", {"authorization": "Bearer reader-secret"})
    with contextlib.closing(connection), connection.getresponse() as refused:
        assert refused.status == 403
        assert b"expected one for predict" in refused.read()
