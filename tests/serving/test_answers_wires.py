"""Every wire carries levels, thresholds, weights and abstentions, and every one gives the same numbers."""

import asyncio
import io
import json
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema
import msgspec
import numpy as np
import pytest
from safetensors import numpy as safetensors

from serving.client import Abstained, Abstention, AsyncClient, Client, Exceedance, Functional, Quantiles
from serving.openapi import document
from tests import heat
from tests.serving import exact
from tests.serving.conftest import Server, running

FIELD, SOLUTION = heat.wave(heat.grid(13), 1)
WEIGHTS = np.random.default_rng(0).normal(size=(2, 13, 1)).astype(np.float32)
NAMES = ("mean", "quantiles", "exceedance", "functional.mean", "functional.std", "functional.tail")
NAMED: dict[str, Any] = {"quantiles": [0.05, 0.5, 0.95], "thresholds": [0.0, 0.25], "tail": 0.9}
TEXTS = {"quantiles": "0.05,0.5,0.95", "thresholds": "0.0,0.25", "tail": 0.9}
Arrays = dict[str, np.ndarray[Any, Any]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("models")
    exact.write(folder)
    heat.write(folder, "drawn", axes=1)
    heat.write(folder, "plain", axes=1, signature=heat.signature(1, ["moments"]))
    flags = ["--batch-sizes", "[1]", "--samples-batch-sizes", "[1, 2]", "--grpc-port", "0", "--abstain", "mark"]
    with running(folder, tmp_path_factory.mktemp("log") / "errors", *flags) as server:
        yield server


def by_json(url: str) -> tuple[Arrays, Any]:
    body = {"model": "exact", "inputs": FIELD.tolist(), "outputs": ["mean"], "functionals": WEIGHTS.tolist(), **NAMED}
    answer = httpx.post(f"{url}/predict", json=body).raise_for_status().json()
    return {name: np.asarray(array, np.float32) for name, array in answer["outputs"].items()}, answer


def by_npy(url: str) -> tuple[Arrays, Any]:
    file = io.BytesIO()
    for array in (FIELD, WEIGHTS):
        np.save(file, array)
    reply = httpx.post(
        f"{url}/predict",
        params={"model": "exact", "outputs": "mean", **TEXTS},
        content=file.getvalue(),
        headers={"content-type": "application/x-npy"},
    ).raise_for_status()
    about, file = json.loads(reply.headers["answer"]), io.BytesIO(reply.content)
    return {name: np.load(file) for name in about["outputs"]}, about


def by_msgpack(url: str) -> tuple[Arrays, Any]:
    def entry(array: Any) -> dict[str, Any]:
        return {"shape": array.shape, "dtype": "float32", "data": array.tobytes()}

    body = {"model": "exact", "inputs": entry(FIELD), "outputs": ["mean"], "functionals": entry(WEIGHTS), **NAMED}
    headers = {"content-type": "application/msgpack"}
    reply = httpx.post(f"{url}/predict", content=msgspec.msgpack.encode(body), headers=headers).raise_for_status()
    answer = msgspec.msgpack.decode(reply.content)
    read = {name: np.frombuffer(a["data"], "<f4").reshape(a["shape"]) for name, a in answer["outputs"].items()}
    return read, answer


def by_safetensors(url: str) -> tuple[Arrays, Any]:
    options = {"options": json.dumps({"model": "exact", "outputs": ["mean"], **NAMED})}
    body = safetensors.save({"inputs": FIELD, "functionals": WEIGHTS}, options)
    headers = {"content-type": "application/x-safetensors"}
    content = httpx.post(f"{url}/predict", content=body, headers=headers).raise_for_status().content
    about = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]["answer"]
    return safetensors.load(content), json.loads(about)


def by_v2(url: str) -> tuple[Arrays, Any]:
    tensors = [
        {"name": name, "datatype": "FP32", "shape": array.shape, "data": array.ravel().tolist()}
        for name, array in (("inputs", FIELD), ("functionals", WEIGHTS))
    ]
    outputs = [{"name": name} for name in ("mean", "quantiles", "functional")]
    body = {"inputs": tensors, "outputs": outputs, "parameters": TEXTS}
    answer = httpx.post(f"{url}/v2/models/exact/infer", json=body).raise_for_status().json()
    read = {o["name"]: np.asarray(o["data"], np.float32).reshape(o["shape"]) for o in answer["outputs"]}
    return read, answer


def test_every_http_wire_gives_the_same(server: Server) -> None:
    found, about = by_json(server.url)
    assert tuple(found) == NAMES
    mean, std = exact.known(WEIGHTS, heat.grid(13).weights(), SOLUTION[None])
    np.testing.assert_allclose(found["functional.mean"], mean[0], atol=1e-5)
    np.testing.assert_allclose(found["functional.std"], std[0], rtol=1e-4)
    assert about["functional"] == {"kind": "exact", "draws": None, "tail": 0.9, "thresholds": None}
    assert about["quantiles"] == {"levels": NAMED["quantiles"], "kind": "gaussian"}
    for read in (by_npy, by_msgpack, by_safetensors, by_v2):
        others, said = read(server.url)
        assert set(others) == set(NAMES)
        for name, array in found.items():
            np.testing.assert_array_equal(others[name], array)
        if read is not by_v2:
            assert {name: said[name] for name in ("quantiles", "exceedance", "functional")} == {
                name: about[name] for name in ("quantiles", "exceedance", "functional")
            }
    parameters = by_v2(server.url)[1]["parameters"]
    assert (parameters["functional.kind"], parameters["quantiles.levels"]) == ("exact", "0.05,0.5,0.95")


def test_grpc_gives_the_same(server: Server) -> None:
    grpc = pytest.importorskip("grpc")
    from serving.wire import inference_pb2 as pb
    from tests.serving.test_grpc import arrays, call, infer

    request = infer(FIELD, model_name="exact")
    request.inputs.add(name="functionals", datatype="FP32", shape=WEIGHTS.shape)
    request.raw_input_contents.append(WEIGHTS.tobytes())
    for name, value in TEXTS.items():
        number = isinstance(value, float)
        request.parameters[name].CopyFrom(
            pb.InferParameter(double_param=value) if number else pb.InferParameter(string_param=value)
        )
    with grpc.insecure_channel(server.grpc) as channel:
        response = call(channel, "ModelInfer", request)
        expected, _ = by_json(server.url)
        found = arrays(response)
        for name in NAMES[1:]:
            np.testing.assert_array_equal(found[name], expected[name])
        assert response.parameters["functional.kind"].string_param == "exact"
        request.parameters["abstain"].CopyFrom(pb.InferParameter(string_param="refuse"))
        with pytest.raises(grpc.RpcError) as caught:
            call(channel, "ModelInfer", request)
    assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    told = dict(caught.value.trailing_metadata())["abstention"]
    assert json.loads(told)["cases"] == [0]


def test_both_clients_ask_for_it(server: Server) -> None:
    async def other() -> Any:
        async with AsyncClient(server.url) as client:
            return await client.predict(FIELD, model="exact", outputs=["mean"], functionals=WEIGHTS, **NAMED)

    expected, _ = by_json(server.url)
    with Client(server.url) as client:
        found = client.predict(FIELD, model="exact", outputs=["mean"], functionals=WEIGHTS, **NAMED)
        drawn = client.predict(np.stack([FIELD, FIELD]), model="drawn", functionals=np.ones((1, 1, 1)), num_samples=4)
    for answer in (found, asyncio.run(other())):
        assert tuple(answer.arrays) == NAMES
        for name, array in expected.items():
            np.testing.assert_array_equal(answer[name], array)
        assert answer.quantiles == Quantiles((0.05, 0.5, 0.95), "gaussian")
        assert answer.exceedance == Exceedance((0.0, 0.25), "gaussian")
        assert answer.functional == Functional("exact", None, 0.9)
    assert drawn["functional.mean"].shape == (2, 1)
    assert (drawn.functional, drawn.quantiles) == (Functional("samples", 4), None)


def test_abstentions_are_told_and_counted(server: Server) -> None:
    def counted() -> tuple[str, Any]:
        text, stats = httpx.get(f"{server.url}/monitoring/metrics").text, httpx.get(f"{server.url}/stats").json()
        return text, stats["abstained"].get("exact/1/refuse", 0)

    before = counted()[1]
    body = {"model": "exact", "inputs": np.stack([FIELD, 0 * FIELD]).tolist(), "abstain": "refuse"}
    reply = httpx.post(f"{server.url}/predict", json=body)
    assert reply.status_code == 422
    error = reply.json()
    assert "unlike what exact/1 was trained on" in error["error"]
    assert (error["abstention"]["cases"], error["abstention"]["threshold"]) == ([0], 0.75)
    schema = {"$ref": "#/components/schemas/Error", "components": document()["components"]}
    jsonschema.Draft202012Validator(json.loads(msgspec.json.encode(schema))).validate(error)
    with Client(server.url) as client:
        marked, plain = client.predict(FIELD, model="exact"), client.predict(0 * FIELD, model="exact")
        with pytest.raises(Abstained, match="1 of 1 cases") as caught:
            client.predict(FIELD, model="exact", abstain="refuse", abstain_from=0.5)
        assert client.predict(FIELD, model="drawn").abstention is None  # which states no alarm
    assert marked.abstention is not None
    assert (marked.abstention.cases, plain.abstention) == ((0,), None)
    assert caught.value.abstention == Abstention(0.5, (0,), marked.abstention.scores)
    text, after = counted()
    assert after == before + 2
    assert f'pnol_abstained_total{{action="refuse",model="exact",version="1"}} {after}.0' in text


@pytest.mark.parametrize(("name", "knows"), [("exact", True), ("drawn", True), ("plain", False)])
def test_metadata_lists_what_can_be_asked(server: Server, name: str, knows: bool) -> None:
    about = httpx.get(f"{server.url}/v2/models/{name}").json()
    shapes = {output["name"]: output["shape"] for output in about["outputs"]}
    assert shapes["quantiles"] == shapes["exceedance"] == [-1, -1, -1, 1]
    assert (shapes.get("functional.mean") == [-1, -1]) == knows
    assert any(tensor["name"] == "functionals" for tensor in about["inputs"]) == knows


def test_an_answer_is_as_documented(server: Server) -> None:
    _, answer = by_json(server.url)
    schema = {"$ref": "#/components/schemas/Prediction", "components": document()["components"]}
    jsonschema.Draft202012Validator(json.loads(msgspec.json.encode(schema))).validate(answer)
    parameters = {p["name"] for p in document()["paths"]["/predict"]["post"]["parameters"]}
    assert {*NAMED, "functional_thresholds", "abstain", "abstain_from"} <= parameters
    assert "functionals" in document()["components"]["schemas"]["Body"]["properties"]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"quantiles": "0.1,x"}, "quantiles: got '0.1,x', expected numbers with commas"),
        ({"quantiles": "0.1,1"}, "Expected `float` < 1"),
        ({"thresholds": "nan"}, "thresholds: got [nan], expected finite numbers"),
        ({"abstain": "never"}, "Invalid enum value 'never'"),
        ({"model": "plain", "functional_thresholds": "1"}, "without weights"),
    ],
)
def test_what_a_url_says_wrongly_is_refused(server: Server, parameters: dict[str, str], message: str) -> None:
    file = io.BytesIO()
    np.save(file, FIELD)
    headers = {"content-type": "application/x-npy"}
    asked = {"model": "exact"} | parameters
    reply = httpx.post(f"{server.url}/predict", params=asked, content=file.getvalue(), headers=headers)
    assert reply.status_code == 400
    assert message in reply.json()["error"]
