"""What clients of the serving benchmarks send: the Open Inference Protocol with binary tensors, or JSON."""

import json
from pathlib import Path

import numpy as np

from benchmarks.load import MARK, write_request
from benchmarks.served_models import SERVED


def binary_requests(name: str, folder: Path) -> list[Path]:
    """One request for each grid of a model, to `/v2/models/NAME/infer`."""
    found = []
    for points in SERVED[name].asked:
        field = _field(points)
        tensor = {
            "name": "inputs",
            "shape": [1, *field.shape],
            "datatype": "FP32",
            "parameters": {"binary_data_size": field.nbytes},
        }
        wanted = [{"name": "mean", "parameters": {"binary_data": True}}]
        head = json.dumps({"inputs": [tensor], "outputs": wanted}).encode()
        headers = {
            "Content-Type": "application/octet-stream",
            "Inference-Header-Content-Length": str(len(head)),
        }
        body = head + MARK + field.tobytes()[len(MARK) :]
        found.append(write_request(folder / f"{name}-{points}.request", f"/v2/models/{name}/infer", headers, body))
    return found


def json_requests(name: str, folder: Path, path: str = "/predict") -> list[Path]:
    """One request, `{"inputs": nested lists}`."""
    [points] = SERVED[name].asked
    text = json.dumps({"inputs": _field(points).tolist()})
    first = text.index("[[[") + 3
    body = text[:first].encode() + MARK + text[text.index("]", first) :].encode()
    return [write_request(folder / f"{name}.json.request", path, {"Content-Type": "application/json"}, body)]


def _field(points: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(points).standard_normal((points, points, 1)).astype(np.float32)
