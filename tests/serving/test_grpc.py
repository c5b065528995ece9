"""gRPC says what HTTP says: the same answers, the same refusals, the same end."""

import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from pnol_jax.errors import InputError
from serving.refusals import Expired, Refusal, Unavailable
from serving.settings import Settings, read_settings
from tests import heat
from tests.processes import until
from tests.serving.conftest import Server, running

grpc = pytest.importorskip("grpc")

from serving.rpc import _explain  # noqa: E402
from serving.wire import grpc as wire  # noqa: E402
from serving.wire import inference_pb2 as pb  # noqa: E402

FIELD, SOLUTION = heat.wave(heat.grid(12), 1)
FLAGS = ["--batch-sizes", "[1]", "--max-cases", "512", "--cache-bytes", "0", "--grpc-port", "0"]


@pytest.fixture(scope="module")
def server(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    flags = [*FLAGS, "--max-body-bytes", "100000"]
    with running(small, tmp_path_factory.mktemp("log") / "errors", *flags) as server:
        yield server


@pytest.fixture
def channel(server: Server) -> Iterator[Any]:
    with grpc.insecure_channel(server.grpc) as channel:
        yield channel


def call(channel: Any, method: str, request: Any, **keywords: Any) -> Any:
    response = getattr(pb, type(request).__name__.replace("Request", "Response"))
    path = f"/inference.GRPCInferenceService/{method}"
    return channel.unary_unary(path, type(request).SerializeToString, response.FromString)(request, **keywords)


def infer(field: Any = FIELD, *, raw: bool = True, **changes: Any) -> pb.ModelInferRequest:
    tensor = pb.ModelInferRequest.InferInputTensor(name="inputs", datatype="FP32", shape=field.shape)
    request = pb.ModelInferRequest(**({"model_name": "line", "inputs": [tensor], "id": "a"} | changes))
    if raw:
        request.raw_input_contents.append(np.asarray(field, "<f4").tobytes())
    else:
        request.inputs[0].contents.fp32_contents.extend(field.ravel())
    return request


def arrays(response: pb.ModelInferResponse) -> dict[str, np.ndarray[Any, Any]]:
    raw = response.raw_output_contents
    flat = [
        np.frombuffer(raw[i], "<f4") if raw else np.asarray(output.contents.fp32_contents, np.float32)
        for i, output in enumerate(response.outputs)
    ]
    return {o.name: values.reshape(tuple(o.shape)) for o, values in zip(response.outputs, flat, strict=True)}


@pytest.mark.parametrize("raw", [True, False])
def test_an_answer_is_that_of_http_bit_for_bit_in_the_request_s_own_way(
    server: Server, channel: Any, raw: bool
) -> None:
    level = pb.InferParameter(double_param=0.5)
    outputs = [pb.ModelInferRequest.InferRequestedOutputTensor(name=name) for name in ("mean", "upper", "ood")]
    response = call(channel, "ModelInfer", infer(raw=raw, outputs=outputs, parameters={"level": level}))
    assert (response.model_name, response.model_version, response.id) == ("line", "10", "a")
    assert response.parameters["bucket"].string_param == "16"
    assert bool(response.raw_output_contents) == raw
    body = {"inputs": FIELD.tolist(), "outputs": ["mean", "upper", "ood"], "level": 0.5}
    expected = httpx.post(f"{server.url}/predict", json=body).json()["outputs"]
    found = arrays(response)
    assert list(found) == ["mean", "upper", "ood"]
    for name, values in found.items():
        np.testing.assert_array_equal(values, np.asarray(expected[name], np.float32))
    np.testing.assert_allclose(found["mean"], SOLUTION, atol=1e-6)


def test_coordinates_version_and_default_outputs(channel: Any) -> None:
    x = np.sort(np.random.default_rng(1).uniform(0, heat.LENGTH, 12))
    field = np.sin(heat.angular(1) * x).astype(np.float32)
    request = infer(field[:, None], model_version="1")
    request.inputs.add(name="coordinates.0", datatype="FP64", shape=[12])
    request.raw_input_contents.append(x.tobytes())
    response = call(channel, "ModelInfer", request)
    assert response.model_version == "1"
    found = arrays(response)
    assert list(found) == ["mean", "std"]
    decay = np.exp(-heat.NU_T * heat.angular(1) ** 2)
    np.testing.assert_allclose(found["mean"][:, 0], decay * field, atol=1e-5)


def test_probes_and_metadata_say_what_http_says(server: Server, channel: Any) -> None:
    assert call(channel, "ServerLive", pb.ServerLiveRequest()).live
    assert call(channel, "ServerReady", pb.ServerReadyRequest()).ready
    for name, version, ready in (("line", "", True), ("line", "1", True), ("line", "2", False), ("wave", "", False)):
        assert call(channel, "ModelReady", pb.ModelReadyRequest(name=name, version=version)).ready == ready
    about = call(channel, "ServerMetadata", pb.ServerMetadataRequest())
    assert {"name": about.name, "version": about.version, "extensions": list(about.extensions)} == httpx.get(
        f"{server.url}/v2"
    ).json()
    found = call(channel, "ModelMetadata", pb.ModelMetadataRequest(name="line"))
    expected = httpx.get(f"{server.url}/v2/models/line").json()
    assert list(found.versions) == expected["versions"] == ["1", "10"]
    for side in ("inputs", "outputs"):
        assert [(t.name, t.datatype, list(t.shape)) for t in getattr(found, side)] == [
            (t["name"], t["datatype"], t["shape"]) for t in expected[side]
        ]


REFUSALS: dict[str, tuple[pb.ModelInferRequest, str, str]] = {
    "an unknown model": (infer(model_name="wave"), "NOT_FOUND", "got 'wave', expected one of ['line']"),
    "an unknown version": (infer(model_version="2"), "NOT_FOUND", "got version '2'"),
    "another shape": (infer(np.zeros((3, 1))), "INVALID_ARGUMENT", "need at least 9 points"),
    "texts": (
        infer(inputs=[pb.ModelInferRequest.InferInputTensor(name="inputs", datatype="BYTES", shape=[1])]),
        "INVALID_ARGUMENT",
        "got datatype 'BYTES', expected a field of numbers",
    ),
    "contents without a tensor": (infer(inputs=[]), "INVALID_ARGUMENT", "expected one for each of 0 inputs"),
    "an unknown parameter": (
        infer(parameters={"color": pb.InferParameter(string_param="red")}),
        "INVALID_ARGUMENT",
        "unknown field `color`",
    ),
    "a deadline": (
        infer(parameters={"timeout": pb.InferParameter(int64_param=1)}),
        "DEADLINE_EXCEEDED",
        "no answer within the deadline of 1e-06 s",
    ),
    "too many cases": (infer(np.zeros((513, 12, 1))), "RESOURCE_EXHAUSTED", "got 513 cases, expected at most 512"),
    "too many bytes": (infer(np.zeros((10, 100, 100))), "RESOURCE_EXHAUSTED", "larger than max"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_it_says_what_it_got_and_what_it_expected(channel: Any, case: str) -> None:
    request, code, message = REFUSALS[case]
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, "ModelInfer", request)
    assert caught.value.code().name == code
    assert message in caught.value.details()
    assert arrays(call(channel, "ModelInfer", infer()))["mean"].shape == (12, 1)


def test_a_bomb_is_refused_by_what_it_inflates_to(channel: Any) -> None:
    request = infer(np.zeros((2000, 2000)))
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, "ModelInfer", request, compression=grpc.Compression.Gzip)
    assert caught.value.code().name == "RESOURCE_EXHAUSTED"
    small = call(channel, "ModelInfer", infer(), compression=grpc.Compression.Gzip)
    assert arrays(small)["mean"].shape == (12, 1)


@pytest.mark.parametrize(
    ("error", "code", "message", "metadata"),
    [
        (Unavailable("full", 7), "UNAVAILABLE", "full", (("grpc-retry-pushback-ms", "7000"),)),
        (Expired("late", 7), "DEADLINE_EXCEEDED", "late", (("grpc-retry-pushback-ms", "7000"),)),
        (InputError("no grid"), "INVALID_ARGUMENT", "no grid", ()),
        (RuntimeError("/secret/path"), "INTERNAL", "internal error", ()),
    ],
)
def test_what_failed_has_the_code_of_its_kind(error: Exception, code: str, message: str, metadata: Any) -> None:
    found = _explain(error)
    assert (found[0].name, *found[1:]) == (code, message, metadata)


def test_the_call_s_deadline_is_the_request_s() -> None:
    seconds = pb.InferParameter(int64_param=2_000_000)
    assert wire.decode_query(infer(), 0.25).options.timeout == 0.25
    assert wire.decode_query(infer(parameters={"timeout": seconds}), 30.0).options.timeout == 2.0
    assert wire.decode_query(infer(parameters={"timeout": seconds}), None).options.timeout == 2.0
    assert wire.decode_query(infer(), None).options.timeout is None


def test_damaged_messages_are_read_or_refused() -> None:
    generator, content = np.random.default_rng(0), infer().SerializeToString()
    outcomes: dict[str, int] = {}
    for _ in range(3000):
        damaged = bytearray(content)
        for place in generator.integers(0, len(damaged), 2):
            damaged[place] = generator.integers(256)
        try:
            wire.decode_query(pb.ModelInferRequest.FromString(bytes(damaged)))
            outcome = "read"
        except Exception as error:  # what protobuf itself refuses never comes to the service
            outcome = type(error).__name__
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    assert set(outcomes) <= {"read", "Refusal", "InputError", "DecodeError"}
    assert outcomes["read"] > 100
    assert outcomes["Refusal"] > 100


def test_calls_are_counted(server: Server, channel: Any) -> None:
    call(channel, "ModelInfer", infer())
    text = httpx.get(f"{server.url}/monitoring/metrics").text
    assert 'endpoint="/inference.GRPCInferenceService/ModelInfer",status="OK"' in text


def test_sigterm_answers_the_calls_that_were_accepted_and_exits_with_0(small: Path, tmp_path: Path) -> None:
    with running(small, tmp_path / "errors", *FLAGS) as server, ThreadPoolExecutor(1) as pool:
        with grpc.insecure_channel(server.grpc) as channel:
            fields = np.multiply.outer(np.arange(1, 501), FIELD)
            request = pool.submit(call, channel, "ModelInfer", infer(fields), timeout=60)
            engine = f"{server.url}/stats"
            until(lambda: httpx.get(engine).json()["engine"]["waiting"] > 0 or request.done())
            assert server.stop() == 0
            answer = arrays(request.result())["mean"]
        np.testing.assert_allclose(answer, np.multiply.outer(np.arange(1, 501), SOLUTION), rtol=0, atol=1e-3)


def test_a_port_that_is_taken_is_one_line_and_2(server: Server, small: Path) -> None:
    port = server.grpc.rpartition(":")[2]
    command = [sys.executable, "-m", "serving", "--models", str(small), "--port", "0", "--grpc-port", port]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 2
    assert f"address 127.0.0.1:{port} for gRPC" in result.stderr


def test_without_its_package_the_setting_is_refused_by_name(small: Path) -> None:
    script = f"""
        import sys

        sys.modules["grpc"] = None
        from serving.listener import listen
        from serving.process import serve
        from serving.settings import Settings
        serve(Settings({str(small)!r}, grpc_port=0), listen("127.0.0.1", 0))
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert "InputError: grpc_port: needs grpc, which is not installed; expected the extra 'grpc'" in result.stderr


def test_none_is_a_value_of_the_setting(tmp_path: Path) -> None:
    file = tmp_path / "serving.toml"
    file.write_text("grpc_port = 9000\n")
    flags = ["--models", str(tmp_path), "--settings", str(file)]
    assert read_settings(flags).grpc_port == 9000
    assert read_settings([*flags, "--grpc-port", "none"]) == Settings(models=str(tmp_path))
    with pytest.raises(InputError, match="grpc_port"):
        read_settings([*flags, "--grpc-port", "70000"])


def test_a_tensor_is_refused_twice() -> None:
    request = infer()
    request.inputs.append(request.inputs[0])
    request.raw_input_contents.append(request.raw_input_contents[0])
    with pytest.raises(Refusal, match="got 'inputs' twice"):
        wire.decode_query(request)


def test_calls_are_recorded_with_the_bytes_that_came(small: Path, tmp_path: Path) -> None:
    flags = ["--batch-sizes", "[1]", "--grpc-port", "0", "--access-log", "1", "--log-format", "json"]
    with running(small, tmp_path / "log", *flags) as server, grpc.insecure_channel(server.grpc) as channel:
        channel.unary_unary("/inference.GRPCInferenceService/ModelReady")(
            pb.ModelReadyRequest(name="line").SerializeToString(), timeout=30
        )

        def lines() -> list[dict[str, Any]]:
            found = [json.loads(line) for line in server.errors.read_text().splitlines()]
            return [line for line in found if line["logger"] == "serving.access"]

        until(lambda: len(lines()) == 1)
        assert (lines()[0]["status"], lines()[0]["bytes_in"]) == ("OK", 6)
