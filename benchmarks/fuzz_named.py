"""Bodies of rollouts, derivatives and the repository that are right, and those that are nearly so."""

from typing import Any

from benchmarks.fuzz_sent import Field, Sent, said
from benchmarks.fuzz_trees import Rng, as_json, as_msgpack, mutated, tree

MARCHING = "marching"  # of `benchmarks.served_models`
ABSENT = "absent"  # what loads and unloads another one would slow all down
JSON, MSGPACK = ({"content-type": f"application/{name}"} for name in ("json", "msgpack"))
ACTIONS = (f"models/{ABSENT}/load", f"models/{ABSENT}/unload", "index")


def right_rollout(_: str, inputs: Field) -> Sent:
    """Two steps in JSON."""
    return _json("rollout", as_json(_rollout(inputs.tolist())))


def wrong_rollout(_: str, inputs: Field, rng: Rng) -> Sent:
    """In JSON or msgpack."""
    if rng.random() < 0.5:
        return _json("rollout", as_json(mutated(_rollout(inputs.tolist()), rng)))
    return _msgpack("rollout", as_msgpack(mutated(_rollout(_packed(inputs, rng)), rng)))


def right_derivative(_: str, inputs: Field) -> Sent:
    """Along a tangent, in JSON."""
    return _json("derivatives", as_json(_derivative(inputs.tolist(), "tangent")))


def wrong_derivative(_: str, inputs: Field, rng: Rng) -> Sent:
    """Of either product, in JSON or msgpack."""
    name = str(rng.choice(["tangent", "cotangent"]))
    if rng.random() < 0.5:
        return _json("derivatives", as_json(mutated(_derivative(inputs.tolist(), name), rng)))
    return _msgpack("derivatives", as_msgpack(mutated(_derivative(_packed(inputs, rng), name), rng)))


def wrong_control(_: str, __: Field, rng: Rng) -> Sent:
    """What loads, unloads or lists."""
    content = tree({"parameters": {"version": "1", "unload_dependents": False}, "ready": True})
    action = ACTIONS[rng.integers(len(ACTIONS))]
    return Sent("repository", f"/v2/repository/{action}", JSON, as_json(mutated(content, rng)))


def _rollout(inputs: Any) -> Any:
    options = {"model": MARCHING, "steps": 2, "stride": 1, "outputs": ["mean", "samples"], "num_samples": 2, "seed": 3}
    return tree({**options, "timeout": 20.0, "inputs": inputs})


def _derivative(inputs: Any, name: str) -> Any:
    return tree({"model": MARCHING, "timeout": 20.0, "priority": "high", "inputs": inputs, name: inputs})


def _packed(inputs: Field, rng: Rng) -> dict[str, Any]:
    values, shape = said(inputs, rng)
    return {"shape": shape, "dtype": "float32", "data": values.tobytes()}


def _json(kind: str, body: bytes) -> Sent:
    return Sent(kind, f"/{kind}", JSON, body)


def _msgpack(kind: str, body: bytes) -> Sent:
    return Sent(kind, f"/{kind}", MSGPACK, body)
