"""The short form, and who may do what with a fleet."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from pnol_jax.errors import InputError
from serving.fleet.config import FleetConfig, check_replicas, read_fleet
from serving.fleet.replicas.config import ReplicasConfig
from serving.fleet.short import configured, own_token
from serving.fleet.supervisor.service import right
from serving.tokens import Tokens
from tests.serving.fleet.conftest import ask, read_line


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="h") as folder:  # short, as a socket's path must be
        yield Path(folder)


def test_flags_of_the_service_reach_the_replicas_and_the_address_is_the_balancers(tmp_path: Path) -> None:
    flags = ["--models", str(tmp_path), "--port", "9000", "--enable-autoscaling", "--max-cases", "8"]
    config = configured(flags)
    assert config.serving == {"models": str(tmp_path), "max_cases": 8}
    assert (config.balancer.port, config.maximum, config.supervisor.port) == (9000, None, None)
    both = configured([*flags, "--enable-monitoring", "--enable-auth"])
    assert both.supervisor.port is not None
    assert both.serving["tokens"].endswith("tokens.toml")
    assert both.replicas.token
    assert configured(["--models", "m", "--enable-auth"]).maximum == 1


def test_the_fleets_token_is_made_once_and_anew_where_either_file_was_lost(home: Path) -> None:
    config = FleetConfig(
        serving={"tokens": str(home / "tokens.toml")}, replicas=ReplicasConfig(token=str(home / "own" / "token"))
    )
    tokens, file = home / "tokens.toml", home / "own" / "token"

    def holder() -> str:
        assert own_token(config) == file
        assert file.stat().st_mode & 0o077 == 0
        found = Tokens(tokens).find(file.read_text().strip())
        assert found
        return found[0]

    assert holder() == holder() == "fleet"
    file.unlink()  # or there was no room for it
    assert holder() == "fleet-2"
    tokens.unlink()
    assert holder() == "fleet"
    file.write_text("")
    assert holder() == "fleet-2"


def test_what_every_replica_has_of_its_own_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    for setting, expected in (
        ("port = 1", "balancer.port"),
        ("agent_port = 1", "performance"),
        ('tokens = "t"', "token"),
        ("max_case = 1", "serving.max_case: unknown key; did you mean 'max_cases'"),
    ):
        file.write_text(f'[serving]\nmodels = "{tmp_path}"\n{setting}\n')
        with pytest.raises(InputError, match=expected):
            check_replicas(read_fleet(file))


def test_reading_needs_read_and_changing_needs_manage() -> None:
    assert right("GET", "/health") is None
    assert right("GET", "/monitoring/fleet") == "read"
    assert {right(method, "/admin/scale") for method in ("POST", "PUT", "DELETE", "PATCH")} == {"manage"}


@pytest.mark.slow
def test_the_short_form_serves_with_tokens(small: Path, home: Path, haproxy: None) -> None:
    words = ["--models", str(small), "--port", "0", "--batch-sizes", "[1]"]
    flags = ["--enable-autoscaling", "--enable-monitoring", "--enable-auth"]
    environment = {**os.environ, "HOME": str(home)}
    command = [sys.executable, "-m", "serving", *words, *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            token = Path(read_line(process).split()[-1])
            assert token.stat().st_mode & 0o077 == 0
            found = re.search(r"ready on (\S+), supervisor on (\S+)", read_line(process))
            assert found
            assert ask(found[1]).status_code == 401
            assert httpx.get(f"{found[2]}/monitoring/fleet").status_code == 401
            assert httpx.post(f"{found[2]}/admin/scale", json={}).status_code == 401
            headers = {"authorization": f"Bearer {token.read_text().strip()}"}
            about = httpx.get(f"{found[2]}/monitoring/fleet", headers=headers).json()
            serve = [replica["serving"] for replica in about["replicas"]]
            assert sorted(serve, reverse=True) in ([True], [True, False])  # one, and a spare: whichever was ready first
            assert httpx.get(f"{found[1]}/stats", headers=headers).status_code == 200
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
