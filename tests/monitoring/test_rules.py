"""Prometheus' own tool finds the rules well formed, and says which alerts come of which series."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from pnol_jax import toml
from serving.fleet.alerts.command import main, monitoring
from serving.fleet.config import FleetConfig
from tests.monitoring import programs

CASES = Path(__file__).with_name("rules_test.yml")


def call(*command: str) -> str:
    if reason := programs.missing(command[0]):
        pytest.skip(reason)
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_files_are_well_formed(tmp_path: Path) -> None:
    config = tmp_path / "fleet.toml"
    config.write_text('name = "pnol"\nmaximum = 4\n')
    assert main(["--config", str(config), "--out", str(tmp_path)]) == 0
    assert "SUCCESS" in call(programs.PROMTOOL, "check", "rules", "--lint=all", str(tmp_path / "rules.json"))
    assert "SUCCESS" in call(programs.AMTOOL, "check-config", str(tmp_path / "alertmanager.json"))


def test_alerts_come_when_they_should_and_not_else(tmp_path: Path) -> None:
    fleet = toml.parse({"name": "pnol", "minimum": 2, "maximum": 4}, FleetConfig, "test")
    (tmp_path / "rules.json").write_text(json.dumps(monitoring(fleet)["rules"]))
    call(programs.PROMTOOL, "test", "rules", str(shutil.copy(CASES, tmp_path)))
