"""Settings come from defaults, a file and flags, in this order; what is wrong is named."""

import json
from pathlib import Path

import msgspec
import pytest

from pnol_jax.errors import InputError
from serving.settings import Settings, read_settings


def test_flags_override_the_file_and_the_file_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "serving.toml"
    file.write_text("port = 9000\nmax_cases = 8\nbatch_sizes = [1, 2]\n")
    flags = ["--settings", str(file), "--models", str(tmp_path), "--port", "0", "--drain-seconds", "5"]
    settings = read_settings(flags)
    expected = Settings(models=str(tmp_path), port=0, max_cases=8, batch_sizes=(1, 2), drain_seconds=5)
    assert settings == expected


def test_every_setting_has_a_flag(tmp_path: Path) -> None:
    defaults = Settings(models=str(tmp_path))
    flags = []
    for name, value in msgspec.structs.asdict(defaults).items():
        text = value if isinstance(value, str) else "none" if value is None else json.dumps(value)
        flags += ["--" + name.replace("_", "-"), text]
    assert read_settings(flags) == defaults


def test_the_help_describes_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_settings(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "--models VALUE folder of NAME/VERSION/ (required)" in shown
    assert "--batch-sizes VALUE compiled at start for mean and variances ([1, 2, 4, 8, 16])" in shown
    assert "--drain-seconds VALUE for requests under way after SIGTERM (30)" in shown


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--models", "nowhere"], "no folder 'nowhere'"),
        ([], "missing required field `models`"),
        (["--port", "http"], "port: Expected `int`, got `str`"),
        (["--port", "70000"], "port: Expected `int` <= 65535"),
        (["--batch-sizes", "[2, 4]"], r"batch_sizes: got \[2, 4\], expected increasing sizes that begin with 1"),
        (["--batch-sizes", "[1, 4, 2]"], "increasing"),
        (["--max-cases", "2000"], "max_cases: got 2000, expected at most queue_cases, 1024"),
        (["--settings", "nowhere.toml"], r"settings nowhere\.toml: "),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, flags: list[str], message: str) -> None:
    given = flags if not flags or "--models" in flags else ["--models", str(tmp_path), *flags]
    with pytest.raises(InputError, match=message):
        read_settings(given)


def test_an_unknown_key_in_the_file_gets_a_suggestion(tmp_path: Path) -> None:
    file = tmp_path / "serving.toml"
    file.write_text("max_case = 8\n")
    with pytest.raises(InputError, match="did you mean 'max_cases'"):
        read_settings(["--settings", str(file), "--models", str(tmp_path)])
