"""No two requests that differ in anything share a key."""

import dataclasses
import itertools
from typing import Any

import numpy as np

from serving.cache import Key, Request, request_key

BASE = Request("heat", "1", "d", (4, 4), "g", "moments", 0, np.zeros((2, 4), np.float32))


def key_of(**changes: Any) -> Key:
    request = dataclasses.replace(BASE, **changes)
    return request_key(request.inputs, request.context)


def test_requests_that_share_bytes_but_differ_in_anything_else_have_keys_of_their_own() -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"model": "wave"},
        {"version": "2"},
        {"digest": "e"},
        {"bucket": (4, 8)},
        {"bucket": (44,)},
        {"grid": "h"},
        {"options": "samples"},
        {"seed": 1},
        {"seed": 256},
        {"inputs": np.zeros((4, 2), np.float32)},
        {"inputs": np.zeros((2, 4), np.int32)},
        {"inputs": np.zeros((2, 4), ">f4")},
        {"inputs": np.zeros((2, 2), np.float64)},
        {"inputs": np.full((2, 4), 1e-45, np.float32)},
        {"model": "hea", "version": "t1"},  # the same letters, cut elsewhere
        {"version": "1d", "digest": ""},
    ]
    keys = [key_of(**change) for change in changes]
    assert len(set(keys)) == len(keys)
    assert {len(key) for key in keys} == {32}


def test_what_goes_with_the_inputs_cannot_be_hidden_in_them() -> None:
    context = np.frombuffer(BASE.context, np.uint8)
    longer = np.concatenate([BASE.inputs.view(np.uint8).ravel(), context])
    assert request_key(longer, b"") == key_of()  # of these bytes it is the hash, so contexts must have one length
    lengths = {
        len(dataclasses.replace(BASE, model="m" * n, bucket=(9,) * n, seed=seed).context)
        for n, seed in itertools.product((1, 50), (0, 2**32 - 1))
    }
    assert lengths == {len(BASE.context)}


def test_a_key_is_of_the_values_not_of_how_they_lie_in_memory() -> None:
    values = np.arange(8, dtype=np.float32).reshape(2, 4)
    assert key_of(inputs=values) == key_of(inputs=np.asfortranarray(values))
    assert key_of(inputs=values) == key_of(inputs=np.repeat(values, 2, axis=1)[:, ::2])
