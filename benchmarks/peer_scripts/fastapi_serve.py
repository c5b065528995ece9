"""FastAPI as it is mostly used: JSON in, JSON out, one call of the program for each request, in a thread pool.

`fastapi_serve.py FOLDER NAME PORT`. It says "ready" when it is.
"""

import sys
from typing import Any

import fastapi
import numpy as np
import uvicorn
from hlo_function import HloFunction
from readiness import say_when_ready


def main(folder: str, port: int) -> None:
    """Serve until it is told to terminate."""
    function, app = HloFunction(folder), fastapi.FastAPI()
    for size in function.sizes:
        function(np.zeros((size, *function.shape), np.float32))

    @app.post("/predict")
    def predict(body: dict[str, Any]) -> dict[str, Any]:
        inputs = np.asarray(body["inputs"], np.float32)
        return {"mean": function(inputs[None])[0].tolist()}

    @app.get("/health")
    def health() -> str:
        return "ok"

    say_when_ready(port)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[3]))
