"""Requests that are nearly right: valid ones of every format, changed in their structure and in their bytes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.fuzz_grpc import GRPC, right_grpc, wrong_grpc
from benchmarks.fuzz_named import right_derivative, right_rollout, wrong_control, wrong_derivative, wrong_rollout
from benchmarks.fuzz_npy import npy, wrong_npy
from benchmarks.fuzz_safetensors import right_safetensors, wrong_safetensors
from benchmarks.fuzz_sent import Field, Sent, damaged, encoded, said
from benchmarks.fuzz_trees import Rng, as_json, as_msgpack, mutated, tree

LENGTH = "inference-header-content-length"


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


def _msgpack_tree(model: str, inputs: Field, shape: Sequence[int]) -> Any:
    array = {"shape": list(shape), "dtype": "float32", "data": inputs.tobytes()}
    return tree({"model": model, "outputs": ["mean"], "seed": 3, "inputs": array})


def _msgpack(content: Any) -> Sent:
    return Sent("msgpack", "/predict", {"content-type": "application/msgpack"}, as_msgpack(content))


def _v2_tree(inputs: Field, shape: Sequence[int]) -> Any:
    tensor = {"name": "inputs", "shape": list(shape), "datatype": "FP32", "parameters": {"content_type": "np"}}
    tensor["data"] = inputs.ravel().tolist()
    return tree({"id": "1", "inputs": [tensor], "outputs": [{"name": "mean"}], "parameters": {"seed": 3}})


def _v2(model: str, content: Any) -> Sent:
    return Sent("v2", f"/v2/models/{model}/infer", {"content-type": "application/json"}, as_json(content))


def _binary_tree(inputs: Field, shape: Sequence[int]) -> Any:
    size = {"binary_data_size": inputs.nbytes}
    tensor = {"name": "inputs", "shape": list(shape), "datatype": "FP32", "parameters": size}
    return tree({"inputs": [tensor], "outputs": [{"name": "mean", "parameters": {"binary_data": True}}]})


def _binary(model: str, content: Any, inputs: bytes, length: str | None = None) -> Sent:
    head = as_json(content)
    headers = {LENGTH: str(len(head)) if length is None else length}
    return Sent("v2 binary", f"/v2/models/{model}/infer", headers, head + inputs)


def _wrong_binary(model: str, inputs: Field, rng: Rng) -> Sent:
    inputs, shape = said(inputs, rng)
    content, data, length = _binary_tree(inputs, shape), inputs.tobytes(), None
    match rng.integers(5):
        case 0:
            data = (data * 2)[: rng.integers(2 * len(data) + 1)]
        case 1:
            length = str(rng.choice(["0", "-1", "1", "7", "999999", "9" * 30, "1e3", "05", "0x10", "", "\xb2"]))
        case 2 | 3:
            content = mutated(content, rng)
    return _binary(model, content, data, length)


def _wrong_feedback(model: str, inputs: Field, rng: Rng) -> Sent:
    content = tree({"model": model, "inputs": inputs.tolist(), "truth": inputs.tolist(), "id": "a"})
    return Sent("feedback", "/feedback", {"content-type": "application/json"}, as_json(mutated(content, rng)))


FORMATS: dict[str, Format] = {
    "json": Format(
        lambda model, inputs: _json(_json_tree(model, inputs)),
        lambda model, inputs, rng: _json(mutated(_json_tree(model, inputs), rng)),
    ),
    "msgpack": Format(
        lambda model, inputs: _msgpack(_msgpack_tree(model, inputs, inputs.shape)),
        lambda model, inputs, rng: _msgpack(_maybe(_msgpack_tree(model, *said(inputs, rng)), rng)),
    ),
    "v2": Format(
        lambda model, inputs: _v2(model, _v2_tree(inputs, [1, *inputs.shape])),
        lambda model, inputs, rng: _v2(model, _maybe(_v2_tree(*said(inputs, rng)), rng)),
    ),
    "v2 binary": Format(
        lambda model, inputs: _binary(model, _binary_tree(inputs, [1, *inputs.shape]), inputs.tobytes()), _wrong_binary
    ),
    "npy": Format(lambda model, inputs: npy(model, [inputs]), wrong_npy),
    "safetensors": Format(right_safetensors, wrong_safetensors),
    GRPC: Format(right_grpc, wrong_grpc),
    "rollout": Format(right_rollout, wrong_rollout),
    "derivatives": Format(right_derivative, wrong_derivative),
}


def _maybe(content: Any, rng: Rng) -> Any:
    """Mutated once, twice, or, since its shape may be odd already, not at all."""
    for _ in range(int(rng.integers(3))):
        content = mutated(content, rng)
    return content


def wrong(model: str, inputs: Field, rng: Rng) -> Sent:
    """A request of any format that is wrong in one way or more, or, now and then, by luck in none."""
    makers = [_wrong_feedback, wrong_control, *(form.wrong for form in FORMATS.values())]
    sent = makers[rng.integers(len(makers))](model, inputs, rng)
    if rng.random() < 0.3:
        sent = replace(sent, body=damaged(sent.body, rng))
    if sent.kind != GRPC and rng.random() < 0.2:
        sent = encoded(sent, rng)
    return sent
