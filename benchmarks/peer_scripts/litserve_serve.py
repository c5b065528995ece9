"""LitServe as its documentation has it: JSON in and out, batches of up to the largest compiled size.

`litserve_serve.py FOLDER NAME PORT`. It says "ready" when it is.
"""

import sys
from typing import Any

import litserve
import numpy as np
from readiness import say_when_ready


class Surrogate(litserve.LitAPI):
    """One program."""

    def __init__(self, folder: str, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._folder = folder

    def setup(self, device: str) -> None:
        """In the worker's process."""
        from hlo_function import HloFunction

        self._function = HloFunction(self._folder)
        for size in self._function.sizes:
            self._function(np.zeros((size, *self._function.shape), np.float32))

    def decode_request(self, request: dict[str, Any]) -> Any:
        """A field from nested lists."""
        return np.asarray(request["inputs"], np.float32)

    def batch(self, inputs: list[Any]) -> Any:
        """Fields side by side."""
        return np.stack(inputs)

    def predict(self, x: Any) -> Any:
        """The mean of each."""
        return self._function(x)

    def unbatch(self, output: Any) -> list[Any]:
        """One for each request."""
        return list(output)

    def encode_response(self, output: Any) -> dict[str, Any]:
        """Nested lists."""
        return {"mean": output.tolist()}


def main(folder: str, port: int) -> None:
    """Serve until it is told to terminate."""
    say_when_ready(port)
    api = Surrogate(folder, max_batch_size=16, batch_timeout=0.001)
    litserve.LitServer(api, accelerator="cpu", workers_per_device=1).run(
        host="127.0.0.1", port=port, log_level="warning", generate_client_file=False
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[3]))
