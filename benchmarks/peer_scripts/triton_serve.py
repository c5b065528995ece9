"""Triton, by its own Python binding, with one program behind it: `triton_serve.py FOLDER NAME PORT [--cache]`.

Batches are Triton's dynamic ones, up to the largest compiled. It says "ready" when it is, and ends with its input.
"""

import argparse
import functools
import os
import sys
import sysconfig

if "LD_LIBRARY_PATH" not in os.environ:  # its stub loads libpython, and would take the system's
    os.environ["LD_LIBRARY_PATH"] = sysconfig.get_config_var("LIBDIR")
    os.execv(sys.executable, [sys.executable, *sys.argv])

import numpy as np
from hlo_function import HloFunction, served
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("name")
    parser.add_argument("port", type=int)
    parser.add_argument("--cache", action="store_true", help="Triton's own response cache")
    asked = parser.parse_args()
    shape, sizes = served(asked.folder)

    @functools.cache
    def function() -> HloFunction:  # made only when Triton is up: it forks, and a process with JAX's threads may not
        return HloFunction(asked.folder)

    @batch
    def infer(inputs: np.ndarray) -> dict[str, np.ndarray]:
        return {"mean": function()(inputs)}

    config = TritonConfig(
        http_address="127.0.0.1",
        http_port=asked.port,
        grpc_address="127.0.0.1",
        grpc_port=asked.port + 1,
        metrics_address="127.0.0.1",
        metrics_port=asked.port + 2,
        cache_config=["local,size=268435456"] if asked.cache else None,
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name=asked.name,
            infer_func=infer,
            inputs=[Tensor(name="inputs", dtype=np.float32, shape=shape)],
            outputs=[Tensor(name="mean", dtype=np.float32, shape=shape)],
            config=ModelConfig(
                max_batch_size=sizes[-1],
                batcher=DynamicBatcher(max_queue_delay_microseconds=0),
                response_cache=asked.cache,
            ),
        )
        triton.run()
        for size in sizes:
            function()(np.zeros((size, *shape), np.float32))
        print("ready", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
