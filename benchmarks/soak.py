"""Mixed traffic for minutes while versions come and go: no request may fail, and memory must stay.

Clients ask a small FNO in every format, on several grids, half of them again and again what was asked before; every few
seconds a new version appears and the oldest goes. Any answer but 200 counts as failed, and none is sent a second time.
"""

import io
import json
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import msgspec
import numpy as np
import psutil
import safetensors.numpy

from benchmarks import served_models, servers
from benchmarks.report import Figure, argument_parser, report
from experiments.command import run
from pnol_jax.ports import free_port

MODEL, POINTS, CLIENTS, KEPT = "small", (20, 25, 32), 6, 2
SAMPLE_SECONDS = 1.0
Sent = tuple[str, dict[str, str], bytes]


def main() -> int:
    """Ask, change versions, and watch."""
    parser = argument_parser(__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="how long (600)")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between versions (5)")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        models, port = Path(folder) / "models", free_port()
        served_models.write(models, [MODEL])
        flags = ("--poll-seconds", "0.5", "--cache-bytes", str(16 * 2**20), "--batch-sizes", "[1, 4]")
        with servers.running(servers.ours(models, port, *flags), Path(folder) / "log") as pid:
            counts, versions, memory = watched(port, models / MODEL, pid, asked.seconds, asked.every)
    answered = sum(counts.values())
    third = len(memory) // 3
    growth = float(np.median(memory[-third:]) / np.median(memory[third : 2 * third])) - 1
    return report(
        [
            Figure("failed_requests", float(answered - counts["200"]), f"of {answered}", 0, at_most=0),
            Figure("versions_that_came_and_went", float(versions), "versions", asked.seconds / asked.every / 2),
            Figure("memory_growth", growth, "last third over the middle one, less 1", 0.05, at_most=0.05),
            Figure("memory_mib", float(np.median(memory[-third:])) / 2**20, "MiB", 1024, less=True),
        ],
        asked.json,
    )


def watched(port: int, folder: Path, pid: int, seconds: float, every: float) -> tuple[Counter[str], int, list[int]]:
    """Answers by status or kind of failure, versions that were made, and resident bytes each second."""
    counts: Counter[str] = Counter()
    over, lock = threading.Event(), threading.Lock()

    def note(outcome: str) -> None:
        with lock:
            counts[outcome] += 1

    clients = [threading.Thread(target=client, args=(port, number, over, note)) for number in range(CLIENTS)]
    for thread in clients:
        thread.start()
    memory, version, process = [], 1, psutil.Process(pid)
    began = changed = time.monotonic()
    try:
        while time.monotonic() < began + seconds:
            time.sleep(SAMPLE_SECONDS)
            memory.append(process.memory_info().rss)
            if time.monotonic() >= changed + every:
                changed, version = time.monotonic(), version + 1
                add_version(folder, version)
                if version > KEPT:
                    shutil.rmtree(folder / str(version - KEPT))
    finally:
        over.set()
        for thread in clients:
            thread.join()
    return counts, version - 1, memory


def add_version(folder: Path, version: int) -> None:
    """A copy of the newest version under the next number, put into its place whole."""
    aside = folder / f".{version}"
    shutil.copytree(folder / str(version - 1), aside)
    manifest = json.loads((aside / "manifest.json").read_text())
    (aside / "manifest.json").write_text(json.dumps(manifest | {"version": str(version)}))
    aside.rename(folder / str(version))


def client(port: int, number: int, over: threading.Event, note: Callable[[str], None]) -> None:
    """Ask until it is over."""
    requests = traffic(np.random.default_rng(number))
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
        while not over.is_set():
            path, headers, content = next(requests)
            try:
                note(str(http.post(path, headers=headers, content=content).status_code))
            except httpx.HTTPError as error:
                note(type(error).__name__)


def traffic(rng: np.random.Generator) -> Iterator[Sent]:
    """Requests in every format, half of them known already."""
    known = [rng.standard_normal((points, points, 1)).astype(np.float32) for points in POINTS]
    while True:
        field = known[rng.integers(len(known))]
        if rng.random() < 0.5:
            field = rng.standard_normal(field.shape).astype(np.float32)
        yield FORMATS[rng.integers(len(FORMATS))](field)


def as_json(field: np.ndarray) -> Sent:  # type: ignore[type-arg]
    """`POST /predict` with nested lists."""
    body = {"inputs": field.tolist(), "outputs": ["mean", "interval"]}
    return "/predict", {"content-type": "application/json"}, json.dumps(body).encode()


def as_npy(field: np.ndarray) -> Sent:  # type: ignore[type-arg]
    """`POST /predict` with the bytes of `numpy.save`."""
    file = io.BytesIO()
    np.save(file, field)
    return "/predict?outputs=mean,std", {"content-type": "application/x-npy"}, file.getvalue()


def as_msgpack(field: np.ndarray) -> Sent:  # type: ignore[type-arg]
    """`POST /predict` with the bytes of the array in a map."""
    array = {"shape": field.shape, "dtype": "float32", "data": field.tobytes()}
    return "/predict", {"content-type": "application/msgpack"}, msgspec.msgpack.encode({"inputs": array})


def as_safetensors(field: np.ndarray) -> Sent:  # type: ignore[type-arg]
    """`POST /predict` with a file of safetensors."""
    return "/predict", {"content-type": "application/x-safetensors"}, safetensors.numpy.save({"inputs": field})


def as_binary(field: np.ndarray) -> Sent:  # type: ignore[type-arg]
    """The Open Inference Protocol with binary tensors."""
    about = {"datatype": "FP32", "parameters": {"binary_data_size": field.nbytes}}
    tensor = {"name": "inputs", "shape": [1, *field.shape], **about}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return f"/v2/models/{MODEL}/infer", {"Inference-Header-Content-Length": str(len(head))}, head + field.tobytes()


FORMATS = (as_json, as_npy, as_msgpack, as_safetensors, as_binary)

if __name__ == "__main__":
    run(main)
