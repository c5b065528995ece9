"""gRPC messages that are right, and those that are nearly so."""

from collections.abc import Sequence
from typing import Any

from benchmarks.fuzz_sent import Field, Sent, said
from benchmarks.fuzz_trees import ODD, Rng
from serving.wire import inference_pb2 as pb

GRPC = "grpc"
OUTPUTS = ("mean", "std", "aleatoric", "epistemic", "lower", "upper", "interval", "samples", "ood", "nothing", "")


def _message(model: str, inputs: Field, shape: Sequence[int]) -> pb.ModelInferRequest:
    tensor = pb.ModelInferRequest.InferInputTensor(name="inputs", datatype="FP32", shape=shape)
    wanted = pb.ModelInferRequest.InferRequestedOutputTensor(name="mean")
    raw = [inputs.tobytes()]
    return pb.ModelInferRequest(model_name=model, inputs=[tensor], outputs=[wanted], raw_input_contents=raw)


def _sent(message: pb.ModelInferRequest) -> Sent:
    return Sent(GRPC, "/inference.GRPCInferenceService/ModelInfer", {}, message.SerializeToString())


def right_grpc(model: str, inputs: Field) -> Sent:
    """The request for a field."""
    return _sent(_message(model, inputs, [1, *inputs.shape]))


def wrong_grpc(model: str, inputs: Field, rng: Rng) -> Sent:
    """One of its parts is odd, or its shape is."""
    inputs, shape = said(inputs, rng)
    made = _message(model, inputs, [min(n, 2**63 - 1) for n in shape])
    tensor = made.inputs[0]
    match rng.integers(9):
        case 0:
            tensor.datatype = str(rng.choice(["", "FP16", "FP64", "BYTES", "BOOL", "INT8", "UINT64", "fp32"]))
        case 1:
            del tensor.shape[:]
            tensor.shape.extend(int(n) for n in rng.choice([0, -1, 1, 2, 5, 2**62, -(2**63)], rng.integers(0, 7)))
        case 2:
            made.raw_input_contents[0] = (inputs.tobytes() * 2)[: rng.integers(2 * inputs.nbytes + 1)]
        case 3:
            made.raw_input_contents.append(b"abcd")
        case 4:
            del made.raw_input_contents[:]
            tensor.contents.fp32_contents.extend(inputs.ravel()[: rng.integers(inputs.size + 1)])
            tensor.contents.int64_contents.extend([1] * int(rng.integers(3)))
        case 5:
            made.inputs.append(tensor)
        case 6:
            made.outputs[0].name = str(rng.choice(OUTPUTS))
        case 7:
            name = str(rng.choice(["seed", "level", "timeout", "binary_data_output", "content_type", "priority", ""]))
            odd = [value for value in ODD if type(value) in (bool, int, float, str)][rng.integers(20)]
            _set(made.parameters[name], odd)
    return _sent(made)


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
