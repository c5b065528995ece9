"""A real server process: every format and every protocol gets the answers that the model gives."""

import collections
import gzip
import io
import json
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client.parser import text_string_to_metric_families
from safetensors import numpy as safetensors

from pnol_jax.bases import make_operands, stack_operands
from pnol_jax.grids import Grid
from pnol_jax.servable import crop, flatten_operands, pad
from serving.ladder import Ladder
from tests import heat

GRID = heat.grid(10, 11)
FIELD, SOLUTION = heat.wave(GRID, 1, 2)
V2 = "/v2/models/heat/infer"


def direct(ladder: Ladder, inputs: NDArray[Any], grid: Grid) -> dict[str, NDArray[Any]]:
    """What the program itself gives."""
    servable = ladder.servable
    bucket = servable.bucket(grid.shape)
    operands = stack_operands([make_operands(grid, servable.manifest.signature.bases(), bucket)])
    arrays = ladder.programs[bucket, "moments", 1](pad(inputs, bucket)[None], flatten_operands(operands))
    found = {name: crop(array[0], grid.shape) for name, array in arrays.items()}
    return found | {"std": np.sqrt(found["aleatoric"] + found["epistemic"])}


def as_npy(*arrays: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    for array in arrays:
        np.save(file, array)
    return file.getvalue()


def ask_json(client: httpx.Client, inputs: NDArray[Any], outputs: list[str], **options: Any) -> dict[str, NDArray[Any]]:
    response = client.post("/predict", json={"inputs": inputs.tolist(), "outputs": outputs, **options})
    assert response.status_code == 200, response.text
    return {name: np.asarray(values, np.float32) for name, values in response.json()["outputs"].items()}


def ask_npy(client: httpx.Client, inputs: NDArray[Any], outputs: list[str], **options: Any) -> dict[str, NDArray[Any]]:
    parameters = {"outputs": ",".join(outputs), **options}
    headers = {"content-type": "application/x-npy"}
    response = client.post("/predict", params=parameters, content=as_npy(inputs), headers=headers)
    assert response.status_code == 200, response.text
    file = io.BytesIO(response.content)
    return {name: np.load(file) for name in json.loads(response.headers["answer"])["outputs"]}


def ask_v2_json(
    client: httpx.Client, inputs: NDArray[Any], outputs: list[str], **options: Any
) -> dict[str, NDArray[Any]]:
    tensor = {"name": "inputs", "shape": inputs.shape, "datatype": "FP32", "data": inputs.ravel().tolist()}
    body = {"inputs": [tensor], "outputs": [{"name": name} for name in outputs], "parameters": options}
    response = client.post(V2, json=body)
    assert response.status_code == 200, response.text
    tensors = response.json()["outputs"]
    return {tensor["name"]: np.asarray(tensor["data"], np.float32).reshape(tensor["shape"]) for tensor in tensors}


def ask_v2_binary(
    client: httpx.Client, inputs: NDArray[Any], outputs: list[str], **options: Any
) -> dict[str, NDArray[Any]]:
    """The bytes as Triton's own client writes and reads them."""
    size = {"binary_data_size": inputs.nbytes}
    tensor = {"name": "inputs", "shape": inputs.shape, "datatype": "FP32", "parameters": size}
    wanted = [{"name": name, "parameters": {"binary_data": True}} for name in outputs]
    header = json.dumps({"id": "1", "inputs": [tensor], "outputs": wanted, "parameters": options}).encode()
    headers = {"Inference-Header-Content-Length": str(len(header))}
    response = client.post(V2, content=header + inputs.tobytes(), headers=headers)
    assert response.status_code == 200, response.text
    length = int(response.headers["Inference-Header-Content-Length"])
    answer, rest = json.loads(response.content[:length]), response.content[length:]
    assert answer["id"] == "1"
    arrays = {}
    for tensor in answer["outputs"]:
        size = tensor["parameters"]["binary_data_size"]
        arrays[tensor["name"]] = np.frombuffer(rest[:size], np.float32).reshape(tensor["shape"])
        rest = rest[size:]
    assert not rest
    return arrays


def ask_msgpack(
    client: httpx.Client, inputs: NDArray[Any], outputs: list[str], **options: Any
) -> dict[str, NDArray[Any]]:
    array = {"shape": inputs.shape, "dtype": inputs.dtype.name, "data": inputs.tobytes()}
    body = msgspec.msgpack.encode({"inputs": array, "outputs": outputs, **options})
    response = client.post("/predict", content=body, headers={"content-type": "application/msgpack"})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/msgpack"
    answer = msgspec.msgpack.decode(response.content)
    assert answer["model"] == "heat"
    return {
        name: np.frombuffer(entry["data"], entry["dtype"]).reshape(entry["shape"])
        for name, entry in answer["outputs"].items()
    }


def ask_safetensors(
    client: httpx.Client, inputs: NDArray[Any], outputs: list[str], **options: Any
) -> dict[str, NDArray[Any]]:
    asked = {"options": json.dumps({"outputs": outputs, **options})}
    headers = {"content-type": "application/x-safetensors"}
    response = client.post("/predict", content=safetensors.save({"inputs": inputs}, asked), headers=headers)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == headers["content-type"]
    length = int.from_bytes(response.content[:8], "little")
    answer = json.loads(json.loads(response.content[8 : 8 + length])["__metadata__"]["answer"])
    assert answer["model"] == "heat"
    arrays = safetensors.load(response.content)
    return {name: arrays[name] for name in answer["outputs"]}


ASKING = [ask_json, ask_npy, ask_msgpack, ask_safetensors, ask_v2_json, ask_v2_binary]


@pytest.mark.parametrize("ask", ASKING)
def test_every_format_gets_what_the_program_gives(client: httpx.Client, ladder: Ladder, ask: Any) -> None:
    outputs = ["mean", "std", "aleatoric", "epistemic", "lower", "upper", "ood"]
    answer, expected = ask(client, FIELD, outputs), direct(ladder, FIELD, GRID)
    assert list(answer) == outputs
    np.testing.assert_allclose(answer["mean"], SOLUTION, atol=1e-6)
    assert answer["ood"].shape == ()
    for name in outputs:  # another process, and perhaps another batch size
        np.testing.assert_allclose(answer[name], expected[name], atol=1e-6)


@pytest.mark.parametrize("ask", ASKING)
def test_draws_are_the_seed_s_in_every_format(client: httpx.Client, ask: Any) -> None:
    cases = np.stack([FIELD, FIELD])
    draws = ask(client, cases, ["samples"], seed=11, num_samples=3)["samples"]
    assert draws.shape == (2, 3, 10, 11, 1)
    np.testing.assert_array_equal(draws, ask_json(client, cases, ["samples"], seed=11)["samples"][:, :3])
    assert np.abs(draws - ask_json(client, cases, ["samples"], seed=12)["samples"][:, :3]).max() > heat.NOISE
    assert np.abs(draws[0] - draws[1]).max() > heat.NOISE  # each case its own noise


def test_intervals_carry_their_guarantee_or_say_that_there_is_none(client: httpx.Client) -> None:
    def interval(**options: Any) -> tuple[dict[str, Any], NDArray[Any], NDArray[Any]]:
        body = {"inputs": FIELD.tolist(), "outputs": ["interval", "std"], **options}
        answer = client.post("/predict", json=body).json()
        lower, upper, std = (np.asarray(answer["outputs"][name]) for name in ("lower", "upper", "std"))
        return answer["interval"], upper - lower, std

    for options in ({}, {"level": heat.LEVEL}):
        about, width, _ = interval(**options)
        assert about == {"level": heat.LEVEL, "kind": "conformal", "guarantee": heat.CALIBRATION}
        np.testing.assert_allclose(width, 2 * heat.BAND, rtol=1e-5)
    about, width, std = interval(level=0.5)
    assert about == {"level": 0.5, "kind": "gaussian", "guarantee": None}
    np.testing.assert_allclose(width, 2 * 0.6744897501960817 * std, rtol=1e-5)  # the Gaussian's quartiles


def test_coordinates_are_used(client: httpx.Client) -> None:
    x = np.sort(np.random.default_rng(1).uniform(0, heat.LENGTH, 20))
    field = np.multiply.outer(np.sin(heat.angular(1) * x), np.ones(11))[..., None].astype(np.float32)
    solution = field * np.exp(-heat.NU_T * heat.angular(1) ** 2)
    y = GRID.axes[1].points
    answer = ask_json(client, field, ["mean"], coordinates=[x.tolist(), y.tolist()])["mean"]
    np.testing.assert_allclose(answer, solution, atol=1e-5)
    headers = {"content-type": "application/x-npy"}
    response = client.post("/predict?outputs=mean", content=as_npy(field, x, y), headers=headers)
    np.testing.assert_array_equal(np.load(io.BytesIO(response.content)), answer)
    assert np.abs(ask_json(client, field, ["mean"])["mean"] - solution).max() > 0.1  # they matter


def test_accept_chooses_the_answer_s_format(client: httpx.Client) -> None:
    body = {"inputs": FIELD.tolist(), "outputs": ["mean"]}
    response = client.post("/predict", json=body, headers={"accept": "text/html, application/x-npy;q=0.9"})
    assert response.headers["content-type"] == "application/x-npy"
    np.testing.assert_allclose(np.load(io.BytesIO(response.content)), SOLUTION, atol=1e-6)


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_a_compressed_request_is_the_same_request(client: httpx.Client, encoding: str, compress: Any) -> None:
    headers = {"content-type": "application/x-npy"}
    plain = client.post("/predict", content=as_npy(FIELD), headers=headers)
    packed = client.post(
        "/predict", content=compress(as_npy(FIELD)), headers=headers | {"content-encoding": encoding.upper()}
    )
    assert packed.content == plain.content


def test_a_request_s_own_id_is_said_again(client: httpx.Client) -> None:
    body = {"inputs": FIELD.tolist(), "outputs": ["mean"]}
    for headers, expected in (
        ({"idempotency-key": "a-1", "x-request-id": "b"}, "a-1"),
        ({"x-request-id": "b"}, "b"),
        ({"x-request-id": "two words"}, None),
        ({}, None),
    ):
        assert client.post("/predict", json=body, headers=headers).headers.get("x-request-id") == expected
    assert client.post("/predict", content=b"{", headers={"idempotency-key": "c"}).headers["x-request-id"] == "c"


def test_a_repeated_request_is_answered_from_the_cache_with_the_same_bits(client: httpx.Client) -> None:
    field = FIELD + np.float32(0.125)
    body = {"inputs": field.tolist()}
    first, second = (client.post("/predict", json=body).json() for _ in range(2))
    assert (first.pop("cached"), second.pop("cached")) == (False, True)
    assert first == second
    assert first["bucket"] == [12, 12]


def test_many_clients_with_different_grids_each_get_their_own(client: httpx.Client, server: Any) -> None:
    generator = np.random.default_rng(2)
    before = client.get("/stats").json()["engine"]

    def one(number: int) -> float:
        shape = [int(n) for n in generator.integers(9, 20, 2)]
        grid, ask = heat.grid(*shape), ASKING[number % len(ASKING)]
        field, solution = heat.wave(grid, 1 + number % 3, 1 + number % 2)
        scale = np.float32(1 + number)  # so that no two requests are the same
        with httpx.Client(base_url=server.url, timeout=60) as own:
            return float(np.abs(ask(own, scale * field, ["mean"])["mean"] / scale - solution).max())

    with ThreadPoolExecutor(24) as pool:
        errors = list(pool.map(one, range(120)))
    assert max(errors) < 2e-6
    after = client.get("/stats").json()["engine"]
    assert after["cases"] - before["cases"] == 120


def test_the_models_and_their_metadata_are_told(client: httpx.Client) -> None:
    (model,) = client.get("/models").json()["models"]
    assert (model["name"], model["version"], model["state"]) == ("heat", "1", "ready")
    assert model["signature"]["axes"][0] == {
        "name": "x",
        "unit": "m",
        "kind": "periodic",
        "length": heat.LENGTH,
        "basis": {"kind": "fourier", "modes": heat.MODES, "padding": 1.25, "ridge": 1e-4},
        "placement": "left",
    }
    assert model["calibration"] == heat.CALIBRATION
    assert client.get("/v2").json()["extensions"] == ["binary_tensor_data", "model_repository"]
    for path in ("/v2/models/heat", "/v2/models/heat/versions/1"):
        about = client.get(path).json()
        assert about["versions"] == ["1"]
        assert about["inputs"][0] == {"name": "inputs", "datatype": "FP32", "shape": [-1, -1, -1, 1]}
        assert {output["name"] for output in about["outputs"]} >= {"mean", "std", "lower", "upper", "samples", "ood"}
    for path in ("/v2/models/heat/ready", "/v2/models/heat/versions/1/ready", "/v2/health/live", "/v2/health/ready"):
        assert client.get(path).status_code == 200
    for path in ("/v2/models/wave/ready", "/v2/models/heat/versions/2", "/v2/models/heat/versions/2/ready"):
        response = client.get(path)
        assert response.status_code == 404
        assert "expected one" in response.json()["error"]


def test_the_figures_are_counted_truly(client: httpx.Client) -> None:
    def figures() -> dict[str, float]:
        sums: dict[str, float] = collections.defaultdict(float)  # over the statuses
        for family in text_string_to_metric_families(client.get("/monitoring/metrics").text):
            for sample in family.samples:
                sums[sample.name + sample.labels.get("endpoint", "")] += sample.value
        return sums

    before = figures()
    for number in range(5):
        ask_npy(client, FIELD + np.float32(time.time() % 100 + number), ["mean"])
    after = figures()
    for name, expected in {
        "pnol_requests_total/predict": 5,
        "pnol_request_seconds_count/predict": 5,
        "pnol_engine_cases_total": 5,
        "pnol_cache_misses_total": 5,
        "pnol_cache_hits_total": 0,
    }.items():
        assert after[name] - before[name] == expected, name
    assert after["pnol_model_ready"] == 1
    scaling = client.get("/monitoring/scaling").json()
    assert scaling["queued_cases"] == 0
    assert 0 < scaling["utilisation"] < 1
    assert scaling["recommended_replicas"] >= 1
