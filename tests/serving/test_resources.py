"""Figures of the machine are what others measure, and what cannot be known is not told."""

import gc
import os
import sys
import threading
import types
from pathlib import Path
from typing import Any

import psutil
import pytest

from serving.monitoring.cgroup import read_limits
from serving.monitoring.exposition import plain
from serving.monitoring.gpus import Gpus
from serving.monitoring.resources import Resources


def told(resources: Resources) -> dict[str, float]:
    return {name: value for family in plain(resources.collect()) for name, _, value in family.samples}


def test_the_process_is_as_psutil_sees_it() -> None:
    gc.collect()  # or what other tests left open would be closed meanwhile
    process, event = psutil.Process(), threading.Event()
    resources = Resources(gpus=Gpus("no_such_module"))
    before = told(resources)
    threads = [threading.Thread(target=event.wait) for _ in range(5)]
    for thread in threads:
        thread.start()
    files = [open(os.devnull) for _ in range(7)]  # noqa: SIM115
    after = told(resources)
    assert after["process_threads"] - before["process_threads"] == 5
    assert after["process_threads"] == process.num_threads()
    assert after["process_open_fds"] - before["process_open_fds"] == 7
    assert after["process_open_fds"] == process.num_fds() - 1  # which counts the file that lists them
    assert after["process_resident_memory_bytes"] == pytest.approx(process.memory_info().rss, rel=0.05)
    assert after["process_cpu_seconds_total"] == pytest.approx(sum(process.cpu_times()[:2]), abs=0.2)
    event.set()
    for file in files:
        file.close()
    for thread in threads:
        thread.join()


def test_what_cannot_be_known_is_left_out(tmp_path: Path) -> None:
    limits = read_limits(tmp_path, tmp_path / "cgroup")
    found = told(Resources(tmp_path, limits, Gpus("no_such_module")))
    assert found.keys() == {"process_cpu_seconds_total", "pnol_machine_cpu_cores", "pnol_machine_memory_limit_bytes"}
    assert found["pnol_machine_memory_limit_bytes"] == psutil.virtual_memory().total
    assert found["pnol_machine_cpu_cores"] == os.cpu_count()


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


def test_the_narrowest_limit_of_the_groups_above_counts(tmp_path: Path) -> None:
    files = {
        "own": "0::/pod/container\n",
        "pod/memory.max": "200000\n",
        "pod/cpu.max": "25000 100000\n",
        "pod/container/memory.max": "max\n",
        "pod/container/memory.current": "1234\n",
        "pod/container/cpu.max": "max 100000\n",
    }
    limits = read_limits(write(tmp_path, files), tmp_path / "own")
    assert (limits.limit(), limits.used(), limits.cores()) == (200000, 1234, 0.25)
    (tmp_path / "pod" / "container" / "memory.max").write_text("100000")
    assert limits.limit() == 100000


def test_version_1_and_a_container_that_sees_its_group_as_the_root(tmp_path: Path) -> None:
    files = {
        "own": "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/\n",
        "memory/memory.limit_in_bytes": "300000\n",
        "memory/memory.usage_in_bytes": "99\n",
        "cpu/cpu.cfs_quota_us": "50000\n",
        "cpu/cpu.cfs_period_us": "100000\n",
    }
    limits = read_limits(write(tmp_path, files), tmp_path / "own")
    assert (limits.limit(), limits.used(), limits.cores()) == (300000, 99, 0.5)
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("9223372036854771712")
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1")
    assert limits.limit() == psutil.virtual_memory().total
    assert limits.cores() == os.cpu_count()


def nvml(cards: int, broken: str = "") -> Any:
    """What NVML's package looks like, with numbers of our own."""
    module = types.ModuleType("fake_nvml")

    class NVMLError(Exception):
        pass

    def answer(name: str, value: Any) -> Any:
        def call(*_: Any) -> Any:
            if name == broken:
                raise NVMLError(name)
            return value

        return call

    values = {
        "nvmlInit": None,
        "nvmlDeviceGetCount": cards,
        "nvmlDeviceGetHandleByIndex": object(),
        "nvmlDeviceGetUtilizationRates": types.SimpleNamespace(gpu=40),
        "nvmlDeviceGetMemoryInfo": types.SimpleNamespace(used=7, total=9),
        "nvmlDeviceGetPowerUsage": 250_000,
        "nvmlDeviceGetTemperature": 61,
    }
    for name, value in values.items():
        setattr(module, name, answer(name, value))
    module.NVMLError = NVMLError  # type: ignore[attr-defined]
    module.NVML_TEMPERATURE_GPU = 0  # type: ignore[attr-defined]
    return module


def test_graphics_cards_tell_what_they_can(monkeypatch: pytest.MonkeyPatch) -> None:
    def figures(module: Any) -> dict[tuple[str, ...], float]:
        monkeypatch.setitem(sys.modules, "fake_nvml", module)
        families = plain(Gpus("fake_nvml").collect())
        return {(name, *dict(labels).values()): value for family in families for name, labels, value in family.samples}

    found = figures(nvml(2))
    assert found["pnol_gpu_utilisation", "1"] == 0.4
    assert found["pnol_gpu_memory_used_bytes", "0"] == 7
    assert found["pnol_gpu_power_watts", "0"] == 250
    assert len(found) == 10
    assert ("pnol_gpu_power_watts", "0") not in figures(nvml(1, broken="nvmlDeviceGetPowerUsage"))
    assert figures(nvml(1, broken="nvmlInit")) == {}
