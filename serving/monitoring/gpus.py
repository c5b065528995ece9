"""Graphics cards through NVML, if its Python package is installed (extra `gpu`) and a driver answers.

All workers and other processes share them, so the figures are of the cards, not of this process.
"""

import logging
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

from prometheus_client.core import Metric

from serving.monitoring.exposition import Gauge

log = logging.getLogger("serving")
FIGURES: dict[str, tuple[str, Callable[[Any, Any], float]]] = {
    "utilisation": (
        "Share of the last moments in which the card computed.",
        lambda nvml, card: nvml.nvmlDeviceGetUtilizationRates(card).gpu / 100,
    ),
    "memory_used_bytes": ("Its memory in use.", lambda nvml, card: float(nvml.nvmlDeviceGetMemoryInfo(card).used)),
    "memory_total_bytes": ("Its memory.", lambda nvml, card: float(nvml.nvmlDeviceGetMemoryInfo(card).total)),
    "power_watts": ("What it draws.", lambda nvml, card: nvml.nvmlDeviceGetPowerUsage(card) / 1000),
    "temperature_celsius": (
        "Of the chip.",
        lambda nvml, card: float(nvml.nvmlDeviceGetTemperature(card, nvml.NVML_TEMPERATURE_GPU)),
    ),
}


class Gpus:
    """The cards that NVML shows; none where there is no NVML."""

    def __init__(self, module: str = "pynvml") -> None:
        self._nvml, self._cards = _opened(module)

    def collect(self) -> Iterator[Metric]:
        """Each figure of each card that can tell it."""
        for name, (text, read) in FIGURES.items() if self._cards else ():
            gauge = Gauge(f"pnol_gpu_{name}", text, "max", labels=["gpu"])
            for index, card in self._cards.items():
                value = self._read(read, card)
                if value is not None:
                    gauge.add_metric([index], value)
            yield gauge

    def _read(self, read: Callable[[Any, Any], float], card: Any) -> float | None:
        try:
            return read(self._nvml, card)
        except self._nvml.NVMLError:  # cards differ in what they tell
            return None


def _opened(module: str) -> tuple[Any, dict[str, Any]]:
    """NVML and its cards by their index."""
    try:
        nvml: Any = import_module(module)
    except ModuleNotFoundError:
        return None, {}
    try:
        nvml.nvmlInit()
        number = nvml.nvmlDeviceGetCount()
        return nvml, {str(index): nvml.nvmlDeviceGetHandleByIndex(index) for index in range(number)}
    except nvml.NVMLError as error:  # no driver, or one that another library is newer than
        log.debug("no figures of graphics cards: NVML: %s", error)
        return nvml, {}
