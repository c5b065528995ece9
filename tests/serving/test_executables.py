"""Compiled programs on the disk: another start finds them, and a folder that others can write is refused."""

from pathlib import Path

import pytest

from pnol_jax.errors import InputError
from serving.executables import keep_executables
from tests.serving.conftest import running


def test_what_one_start_compiled_the_next_one_reads(models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "executables"
    flags = ("--executables", str(folder), "--batch-sizes", "[1]", "--samples-batch-sizes", "[1]")
    with running(models, tmp_path / "errors", *flags) as server:
        assert server.stop() == 0
    kept = {path.name: path.stat().st_mtime_ns for path in folder.glob("*/*-cache")}
    assert kept
    assert folder.stat().st_mode & 0o777 == 0o700
    with running(models, tmp_path / "errors", *flags) as server:
        assert server.stop() == 0
    assert {path.name: path.stat().st_mtime_ns for path in folder.glob("*/*-cache")} == kept


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o707])
def test_a_folder_that_is_not_the_users_alone_is_refused(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(InputError, match=f"with mode {mode:o}, expected a folder of user"):
        keep_executables(str(folder))


def test_where_no_folder_can_be_had_nothing_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    keep_executables(str(tmp_path / "file" / "within"))
    assert "compiled at every start" in caplog.text


def test_a_link_and_a_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "file").touch()
    for name in ("link", "file"):
        with pytest.raises(InputError, match="executables"):
            keep_executables(str(tmp_path / name))
