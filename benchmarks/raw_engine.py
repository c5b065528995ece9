"""The compiled program by itself, as a child process: what a server could give at most."""

import sys

import numpy as np

from benchmarks.peer_scripts.hlo_function import HloFunction
from benchmarks.peer_scripts.line_protocol import serve
from pnol_jax.memory import keep_arena


def main(folder: str) -> None:
    """Serve an operation for each batch size: "1", "2", ..."""
    keep_arena()
    function = HloFunction(folder)
    inputs = {
        size: np.random.default_rng(0).standard_normal((size, *function.shape)).astype(np.float32)
        for size in function.sizes
    }
    for batch in inputs.values():
        function(batch)
    serve({str(size): lambda batch=batch: function(batch) for size, batch in inputs.items()}, {"sizes": function.sizes})


if __name__ == "__main__":
    main(sys.argv[1])
