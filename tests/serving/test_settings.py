"""Settings come from defaults, a file and flags, in this order; what is wrong is named."""

import json
from pathlib import Path

import msgspec
import pytest

from pnol_jax.errors import InputError
from serving.settings import Settings, read_settings
from serving.sources import table


def test_flags_override_the_file_and_the_file_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "serving.toml"
    file.write_text("port = 9000\nmax_cases = 8\nbatch_sizes = [1, 2]\n")
    flags = ["--settings", str(file), "--models", str(tmp_path), "--port", "0", "--drain-seconds", "5"]
    settings = read_settings(flags)
    expected = Settings(models=str(tmp_path), port=0, max_cases=8, batch_sizes=(1, 2), drain_seconds=5)
    assert settings == expected


def test_flags_override_the_environment_and_that_the_file(tmp_path: Path) -> None:
    file = tmp_path / "serving.toml"
    file.write_text("port = 9000\nmax_cases = 8\ndrain_seconds = 7\nhost = '::1'\n")
    environment = {
        "PNOL_SERVING_SETTINGS": str(file),
        "PNOL_SERVING_MODELS": str(tmp_path),
        "PNOL_SERVING_MAX_CASES": "16",
        "PNOL_SERVING_DRAIN_SECONDS": "6",
        "PNOL_SERVING_HOST": "127.0.0.1",
        "PNOL_SERVING_BATCH_SIZES": "[1, 2]",
        "HOME": "elsewhere",
    }
    settings = read_settings(["--drain-seconds", "5"], environment)
    expected = Settings(models=str(tmp_path), port=9000, max_cases=16, batch_sizes=(1, 2), drain_seconds=5)
    assert settings == expected
    with pytest.raises(InputError, match="port: Expected `int`"):
        read_settings([], environment | {"PNOL_SERVING_PORT": "http"})


def test_a_variable_that_is_no_setting_is_named_with_the_nearest(tmp_path: Path) -> None:
    for name, nearest in (("MAX_CASE", "MAX_CASES"), ("QUEUE", "QUEUE_CASES"), ("CACHE_BYTE", "CACHE_BYTES")):
        with pytest.raises(InputError, match=f"PNOL_SERVING_{name} is no setting; did you mean PNOL_SERVING_{nearest}"):
            read_settings(["--models", str(tmp_path)], {f"PNOL_SERVING_{name}": "1"})


def test_the_table_of_the_documentation_is_that_of_the_schema() -> None:
    document = (Path(__file__).parents[2] / "docs" / "settings.md").read_text(encoding="utf-8")
    assert table(Settings) in document
    assert all(f"| `{name}` |" in document for name in Settings.__struct_fields__)


def test_every_setting_has_a_flag_and_a_variable(tmp_path: Path) -> None:
    defaults = Settings(models=str(tmp_path))
    flags, environment = [], {}
    for name, value in msgspec.structs.asdict(defaults).items():
        text = value if isinstance(value, str) else "none" if value is None else json.dumps(value)
        flags += ["--" + name.replace("_", "-"), text]
        environment["PNOL_SERVING_" + name.upper()] = text
    assert read_settings(flags, {}) == read_settings([], environment) == defaults


def test_the_help_describes_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_settings(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "--models VALUE folder of NAME/VERSION/ (required)" in shown
    assert "--batch-sizes VALUE compiled at start for mean and variances ([1, 2, 4, 8, 16])" in shown
    assert "--drain-seconds VALUE for requests under way after SIGTERM (30)" in shown
    assert "--abstain VALUE what becomes of answers to inputs that are too strange [off, mark, refuse] (off)" in shown
    assert "--enable-auth start a fleet" in shown


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--models", "nowhere"], "no folder 'nowhere'"),
        ([], "missing required field `models`"),
        (["--port", "http"], "port: Expected `int`, got `str`"),
        (["--port", "70000"], "port: Expected `int` <= 65535, got 70000"),
        (["--max-case", "3"], "got '--max-case', which is no flag; did you mean --max-cases?"),
        (["--enable-autoscale"], "did you mean --enable-autoscaling?"),
        (["models"], "got 'models', which is no flag; did you mean --models?"),
        (["--pory=1"], "got '--pory=1', which is no flag; did you mean --port?"),
        (["."], "got '.', which is no flag; expected flags that --help lists"),
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


def test_a_flag_is_written_in_full() -> None:
    with pytest.raises(InputError, match=r"got '--worker', which is no flag; did you mean --workers\?"):
        read_settings(["--models", ".", "--worker", "2"])


def test_an_unknown_key_in_the_file_gets_a_suggestion(tmp_path: Path) -> None:
    file = tmp_path / "serving.toml"
    file.write_text("max_case = 8\n")
    with pytest.raises(InputError, match="did you mean 'max_cases'"):
        read_settings(["--settings", str(file), "--models", str(tmp_path)])
