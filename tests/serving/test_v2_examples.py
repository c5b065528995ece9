"""The requests of KServe's and MLServer's own guides, as they stand there, to models of the same shapes."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from tests import heat
from tests.serving.conftest import Server, running

# KServe, "Deploying Scikit-learn models": two flowers of four numbers each.
IRIS = [[6.8, 2.8, 4.8, 1.4], [6.0, 3.4, 4.5, 1.6]]
KSERVE = {"inputs": [{"name": "input-0", "shape": [2, 4], "datatype": "FP32", "data": IRIS}]}

# MLServer, "Serving Scikit-Learn models": a digit of 8x8 pixels, flat; `x_0.tolist()` of one row.
DIGIT = np.random.default_rng(0).integers(0, 17, (1, 64)).astype(float)
MLSERVER = {"inputs": [{"name": "predict", "shape": [1, 64], "datatype": "FP32", "data": DIGIT.tolist()}]}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Models under the names of the guides, with so few modes that four points do."""
    folder = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heat, "MODES", 2)
        moments = heat.signature(1, ["moments"])
        arguments: dict[str, Any] = {"axes": 1, "signature": moments, "buckets": [(16,)]}
        heat.write(folder, "sklearn-iris", "1", **arguments)
        heat.write(folder, "mnist-svm", "v0.1.0", **arguments | {"buckets": [(64,)]})
    flags = ["--batch-sizes", "[1]", "--cache-bytes", "0", "--grpc-port", "0"]
    with running(folder, folder.parent / "errors", *flags) as server:
        yield server


def infer(server: Server, model: str, body: dict[str, Any], version: str | None = None) -> dict[str, Any]:
    path = f"{server.url}/v2/models/{model}" + ("" if version is None else f"/versions/{version}")
    response = httpx.post(f"{path}/infer", content=json.dumps(body), headers={"content-type": "application/json"})
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def outputs(answer: dict[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
    assert all(output["datatype"] == "FP32" for output in answer["outputs"])
    return {output["name"]: np.reshape(output["data"], output["shape"]) for output in answer["outputs"]}


def test_kserve_s_iris_over_http(server: Server) -> None:
    answer = infer(server, "sklearn-iris", KSERVE)
    assert (answer["model_name"], answer["model_version"]) == ("sklearn-iris", "1")
    found = outputs(answer)
    assert list(found) == ["mean", "std"]
    assert found["mean"].shape == (2, 4, 1)
    mean = np.mean(IRIS, axis=1)  # which heat does not lose
    np.testing.assert_allclose(found["mean"].mean((1, 2)), mean, rtol=1e-6)


def test_kserve_s_iris_over_grpc_in_typed_contents(server: Server) -> None:
    grpc = pytest.importorskip("grpc")
    from serving.wire import inference_pb2 as pb

    contents = pb.InferTensorContents(fp32_contents=np.ravel(IRIS))
    tensor = pb.ModelInferRequest.InferInputTensor(name="input-0", shape=[2, 4], datatype="FP32", contents=contents)
    request = pb.ModelInferRequest(model_name="sklearn-iris", inputs=[tensor])
    with grpc.insecure_channel(server.grpc) as channel:
        path = "/inference.GRPCInferenceService/ModelInfer"
        call = channel.unary_unary(path, pb.ModelInferRequest.SerializeToString, pb.ModelInferResponse.FromString)
        answer = call(request)
    found = {output.name: np.reshape(output.contents.fp32_contents, output.shape) for output in answer.outputs}
    expected = outputs(infer(server, "sklearn-iris", KSERVE))
    assert list(found) == list(expected)
    for name, values in found.items():
        np.testing.assert_array_equal(np.float32(values), np.float32(expected[name]))


def test_mlserver_s_digit(server: Server) -> None:
    found = outputs(infer(server, "mnist-svm", MLSERVER, "v0.1.0"))
    assert found["mean"].shape == (1, 64, 1)
    np.testing.assert_allclose(found["mean"].mean(), DIGIT.mean(), rtol=1e-6)


VARIANTS: dict[str, dict[str, Any]] = {
    "flat": {"data": np.ravel(IRIS).tolist()},
    "FP64": {"datatype": "FP64"},
    "the NumPy codec": {"parameters": {"content_type": "np"}},
    "the NumPy codec, flat": {"parameters": {"content_type": "np"}, "data": np.ravel(IRIS).tolist()},
    "null for what is left out": {"parameters": None},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_same_tensor_said_otherwise_is_the_same(server: Server, variant: str) -> None:
    tensor = KSERVE["inputs"][0] | VARIANTS[variant]
    expected = outputs(infer(server, "sklearn-iris", KSERVE))
    for name, values in outputs(infer(server, "sklearn-iris", {"inputs": [tensor]})).items():
        np.testing.assert_array_equal(values, expected[name])


@pytest.mark.parametrize("datatype", ["INT32", "INT64", "UINT8"])
def test_integers_are_numbers_too(server: Server, datatype: str) -> None:
    tensor = MLSERVER["inputs"][0] | {"datatype": datatype, "data": DIGIT.astype(int).ravel().tolist()}
    expected = outputs(infer(server, "mnist-svm", MLSERVER))
    for name, values in outputs(infer(server, "mnist-svm", {"inputs": [tensor]})).items():
        np.testing.assert_array_equal(values, expected[name])


def test_an_id_parameters_and_an_output_are_heeded(server: Server) -> None:
    wanted = {"outputs": [{"name": "mean"}], "id": "42", "parameters": {"content_type": "np"}}
    answer = infer(server, "sklearn-iris", KSERVE | wanted)
    assert answer["id"] == "42"
    assert [output["name"] for output in answer["outputs"]] == ["mean"]


def test_null_stands_for_what_is_left_out(server: Server) -> None:
    left_out = dict.fromkeys(("id", "parameters", "outputs"))
    expected = outputs(infer(server, "sklearn-iris", KSERVE))
    for name, values in outputs(infer(server, "sklearn-iris", KSERVE | left_out)).items():
        np.testing.assert_array_equal(values, expected[name])


def test_a_table_is_refused_for_what_it_is(server: Server) -> None:
    """MLServer's guide to content types: a column of texts and one of numbers."""
    texts = {"name": "First Name", "datatype": "BYTES", "parameters": {"content_type": "str"}, "shape": [2]}
    numbers = {"name": "Age", "datatype": "INT32", "shape": [2], "data": [34, 22]}
    body = {"parameters": {"content_type": "pd"}, "inputs": [texts | {"data": ["Joanne", "Michael"]}, numbers]}
    response = httpx.post(f"{server.url}/v2/models/sklearn-iris/infer", json=body)
    assert response.status_code == 400
    assert "got content_type 'pd', expected 'np'" in response.json()["error"]


def test_texts_are_refused_for_what_they_are(server: Server) -> None:
    tensor = {"name": "args", "shape": [1], "datatype": "BYTES", "data": ["hello"]}
    response = httpx.post(f"{server.url}/v2/models/sklearn-iris/infer", json={"inputs": [tensor]})
    assert response.status_code == 400
    assert response.json()["error"].startswith(
        "args: got datatype 'BYTES', expected a field of numbers: one of ['FP16'"
    )


def test_the_models_are_ready_at_the_guides_paths(server: Server) -> None:
    for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/sklearn-iris/ready", "/v2/models/mnist-svm"):
        assert httpx.get(server.url + path).status_code == 200
