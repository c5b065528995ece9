"""A compiled program that other servers call: the very HLO that ours serves, read by any JAX. No import of ours.

A folder holds `batch-N.hlo` for each batch size N, `arguments.npz` with all arguments but the inputs, in the program's
order, those that have a batch axis for one case, and `about.json`: {"inputs": position of the inputs, "shape": of one,
"batched": positions of the others with a batch axis, "mean": position of the mean among the results}.
"""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax._src.lib import xla_client


def served(folder: str) -> tuple[tuple[int, ...], list[int]]:
    """The shape of a case and the batch sizes in a folder."""
    shape = json.loads((Path(folder) / "about.json").read_text())["shape"]
    return tuple(shape), sorted(int(file.stem.partition("-")[2]) for file in Path(folder).glob("batch-*.hlo"))


class HloFunction:
    """inputs (cases, *space, channels) -> mean (cases, *space, channels); more than the largest batch in turns."""

    def __init__(self, folder: str) -> None:
        path = Path(folder)
        self._about: dict[str, Any] = json.loads((path / "about.json").read_text())
        with np.load(path / "arguments.npz") as file:
            arguments = [file[name] for name in sorted(file.files, key=int)]
        self.shape = tuple(self._about["shape"])
        self._device = jax.devices()[0]
        self._programs, self._arguments = {}, {}
        for file in path.glob("batch-*.hlo"):
            size = int(file.stem.partition("-")[2])
            self._programs[size] = self._compile(file.read_bytes())
            self._arguments[size] = [self._placed(array, index, size) for index, array in enumerate(arguments)]
        self.sizes = sorted(self._programs)

    def _compile(self, hlo: bytes) -> Any:
        module = xla_client._xla.mlir.xla_computation_to_mlir_module(xla_client.XlaComputation(hlo))
        options = xla_client.CompileOptions()
        devices = xla_client.DeviceList((self._device,))
        return self._device.client.compile_and_load(module, devices, options)

    def _placed(self, array: Any, index: int, size: int) -> Any:
        position = index + (index >= self._about["inputs"])
        whole = np.repeat(array[None], size, axis=0) if position in self._about["batched"] else array
        return jax.device_put(whole, self._device)

    def __call__(self, inputs: Any) -> Any:
        """The mean of each case."""
        parts, start = [], 0
        while start < len(inputs):
            left = len(inputs) - start
            size = next((size for size in self.sizes if size >= left), self.sizes[-1])
            parts.append(self._run(inputs[start : start + size], size))
            start += size
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _run(self, inputs: Any, size: int) -> Any:
        cases = len(inputs)
        if cases < size:
            inputs = np.concatenate([inputs, np.zeros((size - cases, *inputs.shape[1:]), inputs.dtype)])
        arguments = list(self._arguments[size])
        arguments.insert(self._about["inputs"], jax.device_put(inputs, self._device))
        results = self._programs[size].execute(arguments)
        return np.asarray(results[self._about["mean"]])[:cases]
