"""Every format carries the same query; no bytes whatever make a reader fail otherwise than by a refusal."""

import asyncio
import io
import json
import struct
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
import safetensors.numpy as library

from pnol_jax.errors import InputError
from serving.query import Query
from serving.refusals import Refusal
from serving.wire import json as wire_json
from serving.wire import msgpack, npy, safetensors, tensors, v2

FIELD = np.random.default_rng(0).normal(size=(3, 4, 1)).astype(np.float32)
POINTS = (np.linspace(0, 1, 3), np.linspace(0, 2, 4))


def as_npy(*arrays: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    for array in arrays:
        np.save(file, array)
    return file.getvalue()


def as_v2(binary: bool) -> tuple[bytes, str | None]:
    tensors = [("inputs", "FP32", FIELD), *[(f"coordinates.{i}", "FP64", x) for i, x in enumerate(POINTS)]]
    entries: list[dict[str, Any]] = []
    for name, datatype, array in tensors:
        entry = {"name": name, "datatype": datatype, "shape": list(array.shape)}
        if binary:
            entry["parameters"] = {"binary_data_size": array.nbytes}
        else:
            entry["data"] = array.tolist() if name == "inputs" else array.ravel().tolist()  # nested or flat
        entries.append(entry)
    parameters = {"level": 0.5, "seed": 3, "timeout": 2_000_000}
    outputs = [{"name": name, "parameters": {"binary_data": binary}} for name in ("mean", "upper")]
    header = json.dumps({"id": "7", "parameters": parameters, "inputs": entries, "outputs": outputs}).encode()
    if not binary:
        return header, None
    return header + b"".join(array.tobytes() for _, _, array in tensors), str(len(header))


def json_query() -> Query:
    body = {
        "model": "heat",
        "version": "2",
        "inputs": FIELD.tolist(),
        "coordinates": [x.tolist() for x in POINTS],
        "outputs": ["mean", "upper"],
        "level": 0.5,
        "seed": 3,
        "timeout": 2.0,
    }
    return wire_json.decode_query(json.dumps(body).encode())


def npy_query() -> Query:
    parameters = {"model": "heat", "version": "2", "outputs": "mean,upper", "level": "0.5", "seed": "3", "timeout": "2"}
    return npy.decode_query(as_npy(FIELD, *POINTS), parameters)


def v2_query(binary: bool) -> Query:
    return v2.decode_query(*as_v2(binary), "heat", "2")[0]


def as_msgpack(**changes: Any) -> bytes:
    def entry(array: np.ndarray[Any, Any]) -> dict[str, Any]:
        return {"shape": array.shape, "dtype": array.dtype.name, "data": array.tobytes()}

    options = {"model": "heat", "version": "2", "outputs": ["mean", "upper"], "level": 0.5, "seed": 3, "timeout": 2.0}
    arrays = {"inputs": entry(FIELD), "coordinates": [entry(x) for x in POINTS]}
    return msgspec.msgpack.encode(options | arrays | changes)


def msgpack_query() -> Query:
    return msgpack.decode_query(as_msgpack())


def as_safetensors(arrays: dict[str, np.ndarray[Any, Any]] | None = None, **changes: Any) -> bytes:
    """As its own library writes it."""
    options = {"model": "heat", "version": "2", "outputs": ["mean", "upper"], "level": 0.5, "seed": 3, "timeout": 2.0}
    named = {"inputs": FIELD, **{f"coordinates.{i}": x for i, x in enumerate(POINTS)}}
    return library.save(named if arrays is None else arrays, {"options": json.dumps(options | changes)})


def safetensors_query() -> Query:
    return safetensors.decode_query(as_safetensors(), {})


@pytest.mark.parametrize(
    "read",
    [json_query, npy_query, msgpack_query, safetensors_query, lambda: v2_query(False), lambda: v2_query(True)],
)
def test_every_format_carries_the_same_query(read: Callable[[], Query]) -> None:
    query, options = read(), json_query().options
    np.testing.assert_array_equal(query.inputs.astype(np.float32), FIELD)
    assert query.coordinates is not None
    for got, expected in zip(query.coordinates, POINTS, strict=True):
        np.testing.assert_array_equal(got, expected)
    names = ("model", "version", "outputs", "level", "seed", "timeout", "num_samples")
    assert [getattr(query.options, name) for name in names] == [getattr(options, name) for name in names]


def test_npy_arrays_of_either_order_and_version_are_read() -> None:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asfortranarray(FIELD), version=(2, 0))
    np.testing.assert_array_equal(npy.read_arrays(file.getvalue())[0], FIELD)


@pytest.mark.parametrize("datatype", ["FP16", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"])
def test_numbers_that_float32_holds_come_as_they_are(datatype: str) -> None:
    dtype = tensors.DTYPES[datatype]
    most = 2048 if datatype == "FP16" else min(2**24, np.iinfo(dtype).max)
    values = np.array([0, 1, most - 1, most], dtype)
    read = tensors.from_bytes("x", datatype, (2, 2), memoryview(values.tobytes()))
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, values.astype(np.float64).reshape(2, 2))


@pytest.mark.parametrize(("datatype", "value"), [("INT32", -(2**24) - 1), ("INT64", -(2**63)), ("UINT64", 2**64 - 1)])
def test_integers_that_float32_would_round_are_refused(datatype: str, value: int) -> None:
    content = memoryview(np.array([1, value], tensors.DTYPES[datatype]).tobytes())
    with pytest.raises(Refusal, match=f"got {value} as {datatype}, expected integers from"):
        tensors.from_bytes("x", datatype, (2,), content)


def header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


BODIES: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "npy array 0"),
    "no npy": (b"PK\x03\x04 and more than ten bytes", "expected the beginning of an npy array"),
    "cut short": (as_npy(FIELD)[:-1], r"got 47 bytes, expected 48 for shape \[3, 4, 1\]"),
    "objects": (as_npy(np.array([{}, {}], dtype=object)), "got dtype '\\|O'"),
    "integers": (as_npy(np.arange(3)), "got dtype '<i8'"),
    "another byte order": (as_npy(FIELD.astype(">f4")), "got dtype '>f4', expected <f4 or <f8"),
    "code in the header": (header("__import__('os').abort()\n"), "npy array 0"),
    "a deep header": (header("(" * 2000 + "\n"), "npy array 0"),
    "a long header": (header("{" + " " * 9000 + "}\n"), "npy array 0"),
    "a negative shape": (header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 2)}\n"), "got the header"),
    "a huge shape": (header("{'descr': '<f4', 'fortran_order': False, 'shape': (2**62, 8)}\n"), "npy array 0"),
    "a huge literal shape": (
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (" + "9" * 30 + ",)}\n"),
        "got the shape",
    ),
    "a long shape": (
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (" + "9" * 18 + ", 4)}"),
        "expected 1599",
    ),
    "a shape without commas": (header("{'descr': '<f4', 'fortran_order': False, 'shape': (1 2)}"), "got the shape"),
    "a shape of 31 digits": (
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (" + "1" * 31 + ")}"),
        "got the shape",
    ),
    "much space": (header("{" + " " * 4000 + "'descr': '<f4'" + " " * 50), "got the header"),
    "an entry twice": (header("{'descr': '<f4', 'descr': '<f4', 'shape': (2,)}"), "got the header"),
    "six arrays": (as_npy(*[FIELD] * 6), "at most 5 npy arrays"),
    "bytes behind": (as_npy(FIELD) + b"\x00", "npy array 1"),
}


@pytest.mark.parametrize("case", BODIES)
def test_npy_bodies_that_are_none_are_refused(case: str) -> None:
    body, message = BODIES[case]
    with pytest.raises(Refusal, match=message):
        npy.read_arrays(body)


JSON_BODIES: dict[str, tuple[str, str]] = {
    "nothing": ("", "truncated"),
    "no object": ("[1]", "Expected `object`"),
    "no inputs": ("{}", "missing required field `inputs`"),
    "an unknown field": ('{"inputs": [1.0], "input": 1}', "unknown field `input`"),
    "no number": ('{"inputs": [1.0, NaN]}', "got NaN, expected finite numbers"),
    "less than no number": ('{"inputs": [-Infinity]}', "got -Infinity, expected finite numbers"),
    "a body cut short": ('{"inputs": [1.0,', "got 16 bytes, expected an object that ends with }"),
    "a ragged list": ('{"inputs": [[1.0, 2.0], [3.0]]}', "lists of different lengths"),
    "depths that differ": ('{"inputs": [[1.0], 2.0]}', "Expected `array`, got `float`"),
    "a text": ('{"inputs": ["1.0"]}', "Expected `float`, got `str`"),
    "null": ('{"inputs": [null]}', "Expected `float`, got `null`"),
    "true": ('{"inputs": [true]}', "Expected `float`, got `bool`"),
    "a number": ('{"inputs": 1.0}', "got 0 nested lists"),
    "too deep": ('{"inputs": ' + "[" * 50_000 + "]" * 50_000 + "}", "recursion|nested lists"),
    "a level of 1": ('{"inputs": [1.0], "level": 1}', r"Expected `float` < 1.0 - at `\$.level`"),
    "a negative seed": ('{"inputs": [1.0], "seed": -1}', r"Expected `int` >= 0 - at `\$.seed`"),
    "a seed of 33 bits": ('{"inputs": [1.0], "seed": 4294967296}', r"at `\$.seed`"),
    "no UTF-8": ('{"inputs": [1.0], "model": "\udcff"}', "body"),
}


@pytest.mark.parametrize("case", JSON_BODIES)
def test_json_bodies_that_are_none_are_refused(case: str) -> None:
    text, message = JSON_BODIES[case]
    with pytest.raises(Refusal, match=message):
        wire_json.decode_query(text.encode(errors="surrogateescape"))


MSGPACK_BODIES: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "truncated"),
    "no map": (b"\x93\x01\x02\x03", "Expected `object`, got `array`"),
    "lists": (as_msgpack(inputs=[1.0, 2.0]), r"Expected `object`, got `array` - at `\$.inputs`"),
    "integers": (as_msgpack(inputs={"shape": [1], "dtype": "int32", "data": b"1234"}), "Invalid enum value 'int32'"),
    "a negative shape": (
        as_msgpack(inputs={"shape": [-1, -1], "dtype": "float32", "data": b"1234"}),
        r"got 4 bytes, expected 4 for shape \[-1, -1\]",
    ),
    "half a number": (
        as_msgpack(coordinates=[{"shape": [1], "dtype": "float64", "data": b"123"}]),
        r"coordinates\[0\]: got 3 bytes, expected 8 for shape \[1\]",
    ),
    "an unknown field": (as_msgpack(input=1), "unknown field `input`"),
}


@pytest.mark.parametrize("case", MSGPACK_BODIES)
def test_msgpack_bodies_that_are_none_are_refused(case: str) -> None:
    body, message = MSGPACK_BODIES[case]
    with pytest.raises(Refusal, match=message):
        msgpack.decode_query(body)


def written(header: Any, data: bytes = bytes(8), length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(begin: int = 0, end: int = 8, **changes: Any) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [2], "data_offsets": [begin, end], **changes}


SAFETENSORS_BODIES: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "got a header of 0 bytes, expected one of at most 0"),
    "half a length": (b"\2\0\0", "got a header of 2 bytes, expected one of at most 0"),
    "no header": (written(b""), "expected a header of safetensors: Input data was truncated"),
    "a long header": (written({}, length=2**63), "got a header of 9223372036854775808 bytes, expected one of at most"),
    "a header beyond the limit": (written(b"{" + b" " * 2**16 + b"}"), "expected one of at most 65536"),
    "a list": (written([]), "Expected `object`, got `array`"),
    "deep JSON": (written(b'{"inputs":' + b"[" * 30_000 + b"]" * 30_000 + b"}"), "body: .*recursion|inputs: Expected"),
    "deep options": (written({"__metadata__": {"options": "[" * 9000}, "inputs": entry()}), "options: Expected"),
    "another dtype": (written({"inputs": entry(dtype="F16", shape=[4])}), "inputs: Invalid enum value 'F16'"),
    "an unknown field": (written({"inputs": entry(name="x")}), "inputs: .*unknown field `name`"),
    "an unknown text": (written({"__metadata__": {"option": "{}"}}), "unknown field `option`; did you mean `options`"),
    "an unknown option": (as_safetensors(levl=1), "options: .*unknown field `levl`; did you mean `level`"),
    "a level of 1": (as_safetensors(level=1), r"options: Expected `float` < 1.0 - at `\$.level`"),
    "offsets that overlap": (
        written({"inputs": entry(), "coordinates.0": entry(4, 12)}, bytes(12)),
        "coordinates.0: got bytes 4 to 12 of 12, expected them to begin at 8",
    ),
    "a hole": (written({"inputs": entry(4, 12)}, bytes(12)), "got bytes 4 to 12 of 12, expected them to begin at 0"),
    "offsets outside": (written({"inputs": entry(0, 8)}, bytes(4)), "got bytes 0 to 8 of 4"),
    "offsets that go back": (written({"inputs": entry(0, -8)}), "got bytes 0 to -8 of 8"),
    "bytes behind": (written({"inputs": entry()}, bytes(9)), "got 9 bytes behind the header, expected 8"),
    "the same twice": (
        written(
            b'{"inputs":%b,"inputs":%b}' % tuple(json.dumps(entry(at, at + 8)).encode() for at in (0, 8)), bytes(16)
        ),
        "got bytes 8 to 16 of 16, expected them to begin at 0",
    ),
    "another shape": (written({"inputs": entry(shape=[3])}), r"got 8 bytes, expected 12 for shape \[3\]"),
    "a negative shape": (written({"inputs": entry(shape=[-1, -2])}), r"expected 8 for shape \[-1, -2\]"),
    "a huge shape": (written({"inputs": entry(shape=[2**62, 2**62])}), "inputs: got 8 bytes"),
    "no tensors": (written({}, b""), r"got tensors \[\], expected 'inputs'"),
    "a coordinate left out": (
        as_safetensors({"inputs": FIELD, "coordinates.1": POINTS[1]}),
        "'coordinates.0'",
    ),
}


@pytest.mark.parametrize("case", SAFETENSORS_BODIES)
def test_safetensors_bodies_that_are_none_are_refused(case: str) -> None:
    body, message = SAFETENSORS_BODIES[case]
    with pytest.raises(Refusal, match=message):
        safetensors.decode_query(body, {})


def test_a_tensor_of_safetensors_is_a_view_of_the_body_wherever_it_lies() -> None:
    body = written(json.dumps({"inputs": entry(0, FIELD.nbytes, shape=FIELD.shape)}).encode() + b" ", FIELD.tobytes())
    inputs = safetensors.decode_query(body, {}).inputs
    np.testing.assert_array_equal(inputs, FIELD)
    assert np.shares_memory(inputs, np.frombuffer(body, np.uint8))


def tensor(**changes: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "inputs", "shape": [2], "datatype": "FP32", "data": [1.0, 2.0]} | changes]}


V2_BODIES: dict[str, tuple[dict[str, Any], bytes, str]] = {
    "no tensors": ({"inputs": []}, b"", "got tensors \\[\\], expected 'inputs'"),
    "two fields": ({"inputs": tensor()["inputs"] + tensor(name="x")["inputs"]}, b"", r"got tensors \['inputs', 'x'\]"),
    "twice": ({"inputs": tensor()["inputs"] * 2}, b"", "got 'inputs' twice"),
    "a coordinate left out": (
        {"inputs": tensor()["inputs"] + tensor(name="coordinates.1")["inputs"]},
        b"",
        "'coordinates.0'",
    ),
    "another datatype": (tensor(datatype="BYTES"), b"", "got datatype 'BYTES', expected a field of numbers: one of"),
    "an integer of 25 bits": (tensor(datatype="INT64", data=[1, 2**24 + 1]), b"", "got 16777217.0 as INT64, expected"),
    "a fraction as an integer": (tensor(datatype="INT32", data=[1, 1.5]), b"", "got 1.5 as INT32, expected integers"),
    "a table": (tensor() | {"parameters": {"content_type": "pd"}}, b"", "got content_type 'pd', expected 'np'"),
    "a timeout of 400 digits": (tensor() | {"parameters": {"timeout": 10**400, "x": 1}}, b"", "unknown field `x`"),
    "another shape": (tensor(shape=[3]), b"", r"got 2 numbers, expected those of shape \[3\]"),
    "a negative shape": (tensor(shape=[-1, -2]), b"", r"expected those of shape \[-1, -2\]"),
    "no data": ({"inputs": [{"name": "inputs", "shape": [2], "datatype": "FP32"}]}, b"", "got no data"),
    "null": (tensor(data=None), b"", "got 0 nested lists"),
    "bytes that are missing": (
        tensor(data=None, parameters={"binary_data_size": 8}),
        b"1234",
        "got binary_data_size 8",
    ),
    "bytes too many": (tensor(), b"1234", "got 4 bytes behind the JSON header, expected 0"),
    "a size that is a text": (tensor(parameters={"binary_data_size": "8"}), b"12345678", "got binary_data_size 8"),
    "half a number": (tensor(parameters={"binary_data_size": 3}), b"123", "got 3 bytes, expected a multiple of 4"),
    "an unknown parameter": (tensor() | {"parameters": {"temperature": 1}}, b"", "unknown field `temperature`"),
}


@pytest.mark.parametrize("case", V2_BODIES)
def test_v2_requests_that_are_none_are_refused(case: str) -> None:
    content, rest, message = V2_BODIES[case]
    text = json.dumps(content).encode()
    with pytest.raises(Refusal, match=message):
        v2.decode_query(text + rest, str(len(text)) if rest else None, "heat", None)


@pytest.mark.parametrize("length", ["", "-1", "1e3", "abc", "9" * 30, "99999", "²"])
def test_a_header_length_that_is_none_is_refused(length: str) -> None:
    with pytest.raises(Refusal, match="inference-header-content-length: got"):
        v2.decode_query(as_v2(True)[0], length, "heat", None)


def damaged(content: bytes, generator: np.random.Generator) -> bytes:
    body = bytearray(content)
    for place in generator.integers(0, len(body), 3):
        body[place] = generator.integers(256)
    return bytes(body[: generator.integers(len(body))] if generator.random() < 0.3 else body)


@pytest.mark.parametrize(
    ("read", "content"),
    [
        (wire_json.decode_query, json.dumps({"inputs": FIELD.tolist(), "outputs": ["mean"], "seed": 3}).encode()),
        (lambda body: npy.decode_query(body, {}), as_npy(FIELD, *POINTS)),
        (msgpack.decode_query, as_msgpack()),
        (lambda body: safetensors.decode_query(body, {}), as_safetensors()),
        (lambda body: v2.decode_query(body, None, "heat", None), as_v2(False)[0]),
        (lambda body: v2.decode_query(body, as_v2(True)[1], "heat", None), as_v2(True)[0]),
    ],
)
def test_damaged_bodies_are_read_or_refused(read: Callable[[bytes], Any], content: bytes) -> None:
    generator, refused = np.random.default_rng(0), 0
    for _ in range(1500):
        try:
            read(damaged(content, generator))
        except InputError:
            refused += 1
    assert refused > 100


def test_a_misspelt_field_is_told_what_it_may_have_meant() -> None:
    with pytest.raises(Refusal, match="unknown field `input`; did you mean `inputs`"):
        wire_json.decode_query(b'{"input": [1]}')
    with pytest.raises(Refusal, match=r"unknown field `xyz`; expected some of .*num_samples"):
        wire_json.decode_query(b'{"xyz": [1]}')


@pytest.mark.parametrize("shape", [(3,), (30_000,), (2, 9_000, 1), (5, 4_100), (3, 2, 5_000), (0, 4), (20_000, 1)])
def test_a_large_array_is_written_by_turns_and_as_at_once(shape: tuple[int, ...]) -> None:
    """What is written between two turns is bounded, and all of it is the text of the nested lists."""
    array = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    turns = 0

    async def written() -> bytes:
        nonlocal turns
        writing = asyncio.create_task(wire_json.encode_array(array))
        while not writing.done():
            turns += 1
            await asyncio.sleep(0)
        return bytes(await writing)

    assert asyncio.run(written()) == wire_json.encode(array.tolist())
    assert max(piece.count(b".") for piece in wire_json.pieces(array)) <= wire_json.PIECE
    assert turns >= array.size / wire_json.PIECE
