"""Requests that are nearly right: valid ones of every format, changed in their structure and in their bytes."""

import gzip
import io
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.fuzz_trees import ODD, Rng, as_json, as_msgpack, mutated, tree
from serving.wire import inference_pb2 as pb

GRPC = "grpc"
LENGTH = "inference-header-content-length"
OUTPUTS = ("mean", "std", "aleatoric", "epistemic", "lower", "upper", "interval", "samples", "ood", "nothing", "")
BOMB = gzip.compress(bytes(2**26))
Field = NDArray[np.float32]


@dataclass(frozen=True)
class Sent:
    """A request; of gRPC the body is the message."""

    kind: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    query: str = ""


@dataclass(frozen=True)
class Format:
    """valid: the request for a field of a model. wrong: the same, changed somewhere."""

    valid: Callable[[str, Field], Sent]
    wrong: Callable[[str, Field, Rng], Sent]


def _json_tree(model: str, inputs: Field) -> Any:
    options = {"model": model, "outputs": ["mean", "interval"], "level": 0.5, "seed": 3, "timeout": 20.0, "id": "a"}
    return tree({**options, "inputs": inputs.tolist()})


def _json(content: Any) -> Sent:
    return Sent("json", "/predict", {"content-type": "application/json"}, as_json(content))


def _msgpack_tree(model: str, inputs: Field) -> Any:
    array = {"shape": list(inputs.shape), "dtype": "float32", "data": inputs.tobytes()}
    return tree({"model": model, "outputs": ["mean"], "seed": 3, "inputs": array})


def _msgpack(content: Any) -> Sent:
    return Sent("msgpack", "/predict", {"content-type": "application/msgpack"}, as_msgpack(content))


def _v2_tree(inputs: Field) -> Any:
    tensor = {"name": "inputs", "shape": [1, *inputs.shape], "datatype": "FP32", "parameters": {"content_type": "np"}}
    tensor["data"] = inputs.ravel().tolist()
    return tree({"id": "1", "inputs": [tensor], "outputs": [{"name": "mean"}], "parameters": {"seed": 3}})


def _v2(model: str, content: Any) -> Sent:
    return Sent("v2", f"/v2/models/{model}/infer", {"content-type": "application/json"}, as_json(content))


def _binary_tree(inputs: Field) -> Any:
    size = {"binary_data_size": inputs.nbytes}
    tensor = {"name": "inputs", "shape": [1, *inputs.shape], "datatype": "FP32", "parameters": size}
    return tree({"inputs": [tensor], "outputs": [{"name": "mean", "parameters": {"binary_data": True}}]})


def _binary(model: str, content: Any, inputs: bytes, length: str | None = None) -> Sent:
    head = as_json(content)
    headers = {LENGTH: str(len(head)) if length is None else length}
    return Sent("v2 binary", f"/v2/models/{model}/infer", headers, head + inputs)


def _wrong_binary(model: str, inputs: Field, rng: Rng) -> Sent:
    content, data, length = _binary_tree(inputs), inputs.tobytes(), None
    match rng.integers(4):
        case 0:
            data = (data * 2)[: rng.integers(2 * len(data))]
        case 1:
            length = str(rng.choice(["0", "-1", "1", "7", "999999", "9" * 30, "1e3", "05", "0x10", "", "\xb2"]))
        case _:
            content = mutated(content, rng)
    return _binary(model, content, data, length)


def _npy(model: str, arrays: Sequence[Any], **query: str) -> Sent:
    file = io.BytesIO()
    for array in arrays:
        np.save(file, array, allow_pickle=False)
    asked = "&".join(f"{name}={value}" for name, value in {"model": model, "outputs": "mean", **query}.items())
    return Sent("npy", "/predict", {"content-type": "application/x-npy"}, file.getvalue(), asked)


DTYPES = ("<f2", "<f4", "<f8", ">f4", "<i4", "<c8", "|O", "<U3", "<M8[s]", "|V4", "f4,f4", "\u00ff", "<f" + "9" * 99)
SHAPES = ("()", "(0,)", "(-1, 5)", "(5)", "(5,)", f"({2**62}, 4)", "(" + "1, " * 60 + ")", "(1.5,)", "[5]", "(,)")


def _wrong_npy(model: str, inputs: Field, rng: Rng) -> Sent:
    whole = _npy(model, [inputs])
    match rng.integers(6):
        case 0:
            name = rng.choice(["level", "seed", "num_samples", "timeout", "outputs", "priority", "version", "x"])
            value = rng.choice(["0", "-1", "nan", "inf", "1e999", "9" * 30, "a%00b", "%ff", "mean,samples", "", "high"])
            return replace(whole, query=f"{whole.query}&{name}={value}")
        case 1:
            return _npy(model, [inputs] * int(rng.integers(2, 6)))
        case 2:
            return _npy(model, [inputs, *(np.linspace(-1, 2, n) for n in inputs.shape[:2])])
        case 3:
            odd = rng.choice([0.0, np.nan, np.inf, 3e38, 1e-45])
            return _npy(model, [np.full(rng.integers(0, 12, rng.integers(0, 5)), odd, np.float32)])
        case 4:
            shape = str(rng.choice(SHAPES)).encode()
            return replace(whole, body=whole.body.replace(str(inputs.shape).encode(), shape))
    return replace(whole, body=whole.body.replace(b"<f4", str(rng.choice(DTYPES)).encode("latin-1")))


def _message(model: str, inputs: Field) -> pb.ModelInferRequest:
    tensor = pb.ModelInferRequest.InferInputTensor(name="inputs", datatype="FP32", shape=[1, *inputs.shape])
    wanted = pb.ModelInferRequest.InferRequestedOutputTensor(name="mean")
    raw = [inputs.tobytes()]
    return pb.ModelInferRequest(model_name=model, inputs=[tensor], outputs=[wanted], raw_input_contents=raw)


def _grpc(message: Any) -> Sent:
    return Sent(GRPC, "/inference.GRPCInferenceService/ModelInfer", {}, message.SerializeToString())


def _wrong_grpc(model: str, inputs: Field, rng: Rng) -> Sent:
    message = _message(model, inputs)
    tensor = message.inputs[0]
    match rng.integers(8):
        case 0:
            tensor.datatype = str(rng.choice(["", "FP16", "FP64", "BYTES", "BOOL", "INT8", "UINT64", "fp32"]))
        case 1:
            del tensor.shape[:]
            tensor.shape.extend(int(n) for n in rng.choice([0, -1, 1, 2, 5, 2**62, -(2**63)], rng.integers(0, 7)))
        case 2:
            message.raw_input_contents[0] = (inputs.tobytes() * 2)[: rng.integers(2 * inputs.nbytes)]
        case 3:
            message.raw_input_contents.append(b"abcd")
        case 4:
            del message.raw_input_contents[:]
            tensor.contents.fp32_contents.extend(inputs.ravel()[: rng.integers(inputs.size + 1)])
            tensor.contents.int64_contents.extend([1] * int(rng.integers(3)))
        case 5:
            message.inputs.append(tensor)
        case 6:
            message.outputs[0].name = str(rng.choice(OUTPUTS))
        case 7:
            name = str(rng.choice(["seed", "level", "timeout", "binary_data_output", "content_type", "priority", ""]))
            odd = [value for value in ODD if type(value) in (bool, int, float, str)][rng.integers(20)]
            _set(message.parameters[name], odd)
    return _grpc(message)


def _set(parameter: Any, value: Any) -> None:
    match value:
        case bool():
            parameter.bool_param = value
        case int() if abs(value) < 2**63:
            parameter.int64_param = value
        case int():
            parameter.uint64_param = abs(value)
        case float():
            parameter.double_param = value
        case _:
            parameter.string_param = value


def _wrong_feedback(model: str, inputs: Field, rng: Rng) -> Sent:
    content = tree({"model": model, "inputs": inputs.tolist(), "truth": inputs.tolist(), "id": "a"})
    return Sent("feedback", "/feedback", {"content-type": "application/json"}, as_json(mutated(content, rng)))


FORMATS: dict[str, Format] = {
    "json": Format(
        lambda model, inputs: _json(_json_tree(model, inputs)),
        lambda model, inputs, rng: _json(mutated(_json_tree(model, inputs), rng)),
    ),
    "msgpack": Format(
        lambda model, inputs: _msgpack(_msgpack_tree(model, inputs)),
        lambda model, inputs, rng: _msgpack(mutated(_msgpack_tree(model, inputs), rng)),
    ),
    "v2": Format(
        lambda model, inputs: _v2(model, _v2_tree(inputs)),
        lambda model, inputs, rng: _v2(model, mutated(_v2_tree(inputs), rng)),
    ),
    "v2 binary": Format(lambda model, inputs: _binary(model, _binary_tree(inputs), inputs.tobytes()), _wrong_binary),
    "npy": Format(lambda model, inputs: _npy(model, [inputs]), _wrong_npy),
    GRPC: Format(lambda model, inputs: _grpc(_message(model, inputs)), _wrong_grpc),
}


def wrong(model: str, inputs: Field, rng: Rng) -> Sent:
    """A request of any format that is wrong in one way or more, or, now and then, by luck in none."""
    makers = [_wrong_feedback, *(form.wrong for form in FORMATS.values())]
    sent = makers[rng.integers(len(makers))](model, inputs, rng)
    if rng.random() < 0.3:
        sent = replace(sent, body=damaged(sent.body, rng))
    if sent.kind != GRPC and rng.random() < 0.2:
        sent = _encoded(sent, rng)
    return sent


def damaged(body: bytes, rng: Rng) -> bytes:
    """The body with some bytes changed, left out, put in or cut off."""
    changed = bytearray(body)
    for _ in range(int(rng.integers(1, 4))):
        at, length = (int(n) for n in rng.integers(0, [len(changed) + 1, 9]))
        match rng.integers(5):
            case 0:
                changed[at : at + 1] = rng.bytes(1)
            case 1:
                del changed[at : at + length]
            case 2:
                changed[at:at] = rng.bytes(length)
            case 3:
                changed[at : at + 4] = [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"][rng.integers(3)]
            case 4:
                del changed[at:]
    return bytes(changed)


def _encoded(sent: Sent, rng: Rng) -> Sent:
    """The body compressed, rightly or wrongly."""
    name = ["gzip", "x-gzip", "deflate"][rng.integers(3)]
    body = zlib.compress(sent.body, 1) if name == "deflate" else gzip.compress(sent.body, 1)
    match rng.integers(6):
        case 0:
            body = damaged(body, rng)
        case 1:
            name = str(rng.choice(["gzip, deflate", "br", "deflate", "gzip", "identity", "x" * 300]))
        case 2:
            body = BOMB
    return replace(sent, headers={**sent.headers, "content-encoding": name}, body=body)
