"""Triton's server with its Python backend, without PyTriton: `tritonserver_serve.py FOLDER NAME PORT [--cache]`.

The program runs in the backend's own process. It says "ready" when it is, and ends with its input.
"""

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.request
from importlib.util import find_spec
from pathlib import Path

from hlo_function import served

CONFIG = """name: "{name}"
backend: "python"
max_batch_size: {largest}
input [{{ name: "inputs" data_type: TYPE_FP32 dims: [{dims}] }}]
output [{{ name: "mean" data_type: TYPE_FP32 dims: [{dims}] }}]
parameters [
  {{ key: "folder" value {{ string_value: "{folder}" }} }},
  {{ key: "path" value {{ string_value: "{path}" }} }}
]
instance_group [{{ kind: KIND_CPU count: 1 }}]
dynamic_batching {{ max_queue_delay_microseconds: 0 }}
response_cache {{ enable: {cache} }}
"""
SECONDS = 60.0  # to be ready in


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("name")
    parser.add_argument("port", type=int)
    parser.add_argument("--cache", action="store_true", help="Triton's own response cache")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        command = prepare(Path(place), asked)
        environment = {
            **os.environ,
            "LD_LIBRARY_PATH": os.pathsep.join([sysconfig.get_config_var("LIBDIR"), str(libraries())]),
        }
        with subprocess.Popen(command, env=environment, stdout=sys.stderr) as server:
            try:
                wait(server, f"http://127.0.0.1:{asked.port}/v2/models/{asked.name}/ready")
                print("ready", flush=True)
                sys.stdin.read()
            finally:
                server.terminate()


def libraries() -> Path:
    """What PyTriton's server was linked with."""
    return Path(find_spec("pytriton").origin).parents[1] / "nvidia_pytriton.libs"


def prepare(place: Path, asked: argparse.Namespace) -> list[str]:
    """A model repository and the backend with the stub of this Python; the server's command."""
    package = Path(find_spec("pytriton").origin).parent / "tritonserver"
    backend = place / "backends" / "python"
    shutil.copytree(package / "backends" / "python", backend)
    stub = package / "python_backend_stubs" / f"{sys.version_info.major}.{sys.version_info.minor}"
    shutil.copy(stub / "triton_python_backend_stub", backend)
    shape, sizes = served(asked.folder)
    model = place / "models" / asked.name
    (model / "1").mkdir(parents=True)
    shutil.copy(Path(__file__).with_name("triton_model.py"), model / "1" / "model.py")
    dims, cache = ", ".join(map(str, shape)), str(asked.cache).lower()
    path = os.pathsep.join([str(Path(__file__).resolve().parent), sysconfig.get_path("purelib")])
    folder = asked.folder.resolve()
    text = CONFIG.format(name=asked.name, largest=sizes[-1], dims=dims, folder=folder, path=path, cache=cache)
    (model / "config.pbtxt").write_text(text)
    flags = {
        "model-repository": place / "models",
        "backend-directory": place / "backends",
        "cache-directory": package / "caches",
        "http-address": "127.0.0.1",
        "http-port": asked.port,
        "allow-grpc": "false",
        "allow-metrics": "false",
        **({"cache-config": "local,size=268435456"} if asked.cache else {}),
    }
    return [str(package / "bin" / "tritonserver"), *(f"--{name}={value}" for name, value in flags.items())]


def wait(server: subprocess.Popen[bytes], url: str) -> None:
    """Until it answers that the model is ready."""
    for _ in range(int(SECONDS / 0.2)):
        if server.poll() is not None:
            break
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            time.sleep(0.2)
    raise SystemExit(f"{url} did not answer")


if __name__ == "__main__":
    main()
