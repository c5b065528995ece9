"""tritonclient asks a service for a prediction in every way that it knows. It runs in the peer's own environment.

    tritonclient_asks.py HTTP GRPC MODEL INPUTS.npy ANSWERS.npz

The answers' names are WAY.OUTPUT. What the service says of itself goes to standard output, as one line of JSON.
"""

import asyncio
import json
import sys
from typing import Any

import numpy as np
import tritonclient.grpc as triton_grpc
import tritonclient.grpc.aio as triton_grpc_aio
import tritonclient.http as triton_http

OUTPUTS = ("mean", "std", "lower")
ID, PARAMETERS, MICROSECONDS = "one request", {"level": 0.5}, 30_000_000


def question(library: Any, inputs: Any, **binary: bool) -> dict[str, Any]:
    """The arguments of `infer`, in the types of one of the libraries."""
    tensor = library.InferInput("inputs", inputs.shape, "FP32")
    tensor.set_data_from_numpy(inputs, **binary)
    outputs = [library.InferRequestedOutput(name, **binary) for name in OUTPUTS]
    said = {"request_id": ID, "parameters": PARAMETERS, "timeout": MICROSECONDS}
    return {"inputs": [tensor], "outputs": outputs, **said}


def read(result: Any) -> dict[str, Any]:
    """The arrays of a result."""
    about = result.get_response()
    got = about["id"] if isinstance(about, dict) else about.id
    if got != ID:
        raise SystemExit(f"id: got {got!r}, expected {ID!r}")
    return {name: result.as_numpy(name) for name in OUTPUTS}


def over_http(url: str, model: str, inputs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The answers of each way over HTTP, and what the service says of itself."""
    with triton_http.InferenceServerClient(url) as client:
        facts = {
            "live": client.is_server_live(),
            "ready": client.is_server_ready(),
            "models": [
                client.is_model_ready(name, version) for name, version in ((model, ""), (model, "1"), ("x", ""))
            ],
            "server": client.get_server_metadata(),
            "model": client.get_model_metadata(model),
        }
        binary, text = (question(triton_http, inputs, binary_data=is_binary) for is_binary in (True, False))
        ways: dict[str, dict[str, Any]] = {
            "binary": binary,
            "json": text,
            "version": binary | {"model_version": "1"},
            "gzip": binary | {"request_compression_algorithm": "gzip"},
            "deflate": text | {"request_compression_algorithm": "deflate"},
            "gzip-answer": binary | {"response_compression_algorithm": "gzip"},
        }
        answers = {way: read(client.infer(model, **arguments)) for way, arguments in ways.items()}
        answers["async"] = read(client.async_infer(model, **binary).get_result())
        return answers, facts


def over_grpc(url: str, model: str, inputs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The answers of each way over gRPC, and what the service says of itself."""
    with triton_grpc.InferenceServerClient(url) as client:
        about = client.get_server_metadata(as_json=True)
        tensors = client.get_model_metadata(model, as_json=True)
        facts = {
            "live": client.is_server_live(),
            "ready": client.is_server_ready(),
            "models": [
                client.is_model_ready(name, version) for name, version in ((model, ""), (model, "1"), ("x", ""))
            ],
            "server": about,
            "model": tensors,
        }
        asked = question(triton_grpc, inputs)
        ways = {
            "grpc": asked,
            "grpc-version": asked | {"model_version": "1"},
            "grpc-gzip": asked | {"compression_algorithm": "gzip"},
            "grpc-deadline": asked | {"client_timeout": 30.0},
        }
        return {way: read(client.infer(model, **arguments)) for way, arguments in ways.items()}, facts


async def over_grpc_aio(url: str, model: str, inputs: Any) -> dict[str, Any]:
    """The answer to the client for asyncio."""
    async with triton_grpc_aio.InferenceServerClient(url) as client:
        return {"grpc-aio": read(await client.infer(model, **question(triton_grpc_aio, inputs)))}


def refusals(http: str, grpc: str, model: str) -> dict[str, str]:
    """What either client says of a request that is at fault."""
    wrong, said = np.zeros((2, 3, 4, 5, 6), np.float32), {}
    for name, library, url in (("http", triton_http, http), ("grpc", triton_grpc, grpc)):
        with library.InferenceServerClient(url) as client:
            try:
                client.infer(model, **question(library, wrong))
            except Exception as error:
                said[name] = str(error)
    return said


def main() -> None:
    """Ask, and write down what was answered."""
    http, grpc, model, source, target = sys.argv[1:]
    inputs = np.load(source)
    answers, http_facts = over_http(http, model, inputs)
    others, grpc_facts = over_grpc(grpc, model, inputs)
    answers |= others | asyncio.run(over_grpc_aio(grpc, model, inputs))
    np.savez(target, **{f"{way}.{name}": array for way, arrays in answers.items() for name, array in arrays.items()})
    print(json.dumps({"http": http_facts, "grpc": grpc_facts, "refusals": refusals(http, grpc, model)}))


if __name__ == "__main__":
    main()
