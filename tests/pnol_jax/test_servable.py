"""A servable is what it was when it was written, or it is refused; and it answers as the model did, on any grid."""

import contextlib
import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import msgspec
import numpy as np
import pytest
from jax import export
from jax.extend.mlir import ir, serialize_portable_artifact
from jax.interpreters.mlir import make_ir_context
from numpy.typing import NDArray

from pnol_jax.bases import make_operands, stack_operands
from pnol_jax.errors import InputError
from pnol_jax.grids import Axis, Grid
from pnol_jax.predictive import Predictive
from pnol_jax.servable import Figure, Program, Servable, case_keys, crop, flatten_operands, load_servable, pad
from pnol_jax.servable.program import argument_shapes
from tests import heat

SMALL, LARGE = (12, 12), (20, 24)
EXACT = 1e-6  # float32: 16 roundings of values of at most 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return heat.write(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def servable(folder: Path) -> Servable:
    return load_servable(folder)


@pytest.fixture(scope="module")
def draw(servable: Servable) -> Program:
    """The draws' program of the small bucket for three cases."""
    return servable.compile(SMALL, "samples", 3)


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(folder, tmp_path / "copy")


def ask(
    servable: Servable, cases: list[tuple[NDArray[Any], Grid]], bucket: tuple[int, ...], **arguments: Any
) -> list[dict[str, NDArray[Any]]]:
    """The moments of cases on different grids, in one batch of a bucket."""
    bases = servable.manifest.signature.bases()
    inputs = np.stack([pad(inputs, bucket) for inputs, _ in cases])
    operands = flatten_operands(stack_operands([make_operands(grid, bases, bucket) for _, grid in cases]))
    arrays = servable.compile(bucket, "moments", len(cases))(inputs, operands)
    return [{name: crop(a[i], grid.shape) for name, a in arrays.items()} for i, (_, grid) in enumerate(cases)]


def change_manifest(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    change(manifest)
    (path / "manifest.json").write_text(json.dumps(manifest))


def replace(path: Path, file: str, content: bytes) -> None:
    """Change a file as one would who may also change the manifest."""
    (path / file).write_bytes(content)
    change_manifest(path, lambda manifest: manifest["files"].update({file: hashlib.sha256(content).hexdigest()}))
    change_manifest(path, lambda manifest: manifest["sizes"].update({file: len(content)}))


def test_different_grids_in_one_batch_get_the_closed_form_each(servable: Servable) -> None:
    x = np.sort(np.random.default_rng(0).uniform(0, heat.LENGTH, 19))
    uneven = Grid((Axis("periodic", heat.LENGTH, tuple(x.tolist())), Axis.uniform(24, "periodic", heat.LENGTH)))
    grids = [heat.grid(9, 10), heat.grid(20, 24), heat.grid(12, 11), uneven]
    waves = [heat.wave(grid, 1 + i % 3, 2) for i, grid in enumerate(grids)]
    answers = ask(servable, [(inputs, grid) for (inputs, _), grid in zip(waves, grids, strict=True)], LARGE)
    for (_, solution), answer, tolerance in zip(waves, answers, [EXACT, EXACT, EXACT, 1e-5], strict=True):
        np.testing.assert_allclose(answer["mean"], solution, atol=tolerance)
        np.testing.assert_allclose(answer["aleatoric"], heat.NOISE**2, rtol=1e-6)
        np.testing.assert_allclose(answer["epistemic"], (heat.SPREAD * answer["mean"]) ** 2, rtol=1e-5)
        np.testing.assert_allclose(answer["upper"] - answer["lower"], 2 * heat.BAND, rtol=1e-5)
    energies = [
        float(np.sum(grid.weights() * solution[..., 0] ** 2)) for grid, (_, solution) in zip(grids, waves, strict=True)
    ]
    np.testing.assert_allclose([answer["ood"] for answer in answers], energies, rtol=1e-4)


def test_padding_into_a_bucket_changes_nothing(servable: Servable) -> None:
    grid = heat.grid(*SMALL)
    inputs = np.random.default_rng(1).normal(size=(*SMALL, 1)).astype(np.float32)
    (unpadded,), (padded,) = (ask(servable, [(inputs, grid)], bucket) for bucket in (SMALL, LARGE))
    for name, array in unpadded.items():
        np.testing.assert_allclose(padded[name], array, atol=EXACT * np.abs(array).max())


def test_draws_of_a_case_do_not_depend_on_its_batch(servable: Servable, draw: Program) -> None:
    grid, bases = heat.grid(10, 10), servable.manifest.signature.bases()
    inputs = np.stack([pad(heat.wave(grid, 1, k)[0], SMALL) for k in (1, 2, 3)])
    operands = flatten_operands(stack_operands([make_operands(grid, bases, SMALL)] * 3))
    keys = case_keys(7, 3)
    together = draw(inputs, operands, keys)["samples"]
    assert together.shape == (3, heat.NUM_SAMPLES, *SMALL, 1)
    one = servable.compile(SMALL, "samples", 1)
    for i in range(3):
        alone = one(inputs[i : i + 1], {name: leaf[:1] for name, leaf in operands.items()}, keys[i : i + 1])["samples"]
        np.testing.assert_allclose(alone[0], together[i], atol=EXACT)
    assert not np.allclose(together[0] - inputs[0], together[1] - inputs[1], atol=0.01)  # other noise


def test_draws_have_the_moments_of_the_predictive(servable: Servable, draw: Program) -> None:
    grid, bases = heat.grid(*SMALL), servable.manifest.signature.bases()
    inputs, solution = heat.wave(grid, 1, 1)
    operands = flatten_operands(stack_operands([make_operands(grid, bases, SMALL)] * 3))
    many = [draw(np.stack([inputs] * 3), operands, case_keys(seed, 3))["samples"] for seed in range(10)]
    noise = np.stack(many) - solution
    count = noise.size
    assert abs(noise.mean()) < 4 * heat.NOISE / np.sqrt(count)
    assert abs(noise.var() / heat.NOISE**2 - 1) < 4 * np.sqrt(2 / count)


def test_a_written_servable_replays_and_says_what_was_written(servable: Servable, folder: Path) -> None:
    servable.replay()
    manifest = servable.manifest
    assert manifest.signature == heat.signature(2)
    assert (manifest.name, manifest.version, manifest.buckets) == ("heat", "1", (SMALL, LARGE))
    assert manifest.calibration == heat.CALIBRATION
    assert servable.has_band
    assert servable.digest == hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    assert servable.bucket((12, 12)) == SMALL
    assert servable.bucket((12, 13)) == LARGE
    with pytest.raises(InputError, match=r"got 21x10 points, expected at most one of the buckets 12x12, 20x24"):
        servable.bucket((21, 10))


def test_programs_are_lowered_for_cpu_and_cuda_and_name_no_folder(servable: Servable, folder: Path) -> None:
    assert all(set(program.platforms) == {"cpu", "cuda"} for program in servable.programs.values())
    here = str(Path(__file__).parents[1]).encode()
    assert not any(here in file.read_bytes() for file in folder.iterdir())


@pytest.mark.parametrize("axes", [1, 3])
def test_one_and_three_axes(tmp_path: Path, axes: int) -> None:
    servable = load_servable(heat.write(tmp_path, axes=axes, signature=heat.signature(axes, ["moments"])))
    grid = heat.grid(*(13, 14, 15)[:axes])
    inputs, solution = heat.wave(grid, *(1, 2, 3)[:axes])
    (answer,) = ask(servable, [(inputs, grid)], servable.bucket(grid.shape))
    np.testing.assert_allclose(answer["mean"], solution, atol=EXACT)


FILES = [
    "weights.safetensors",
    "test-0.safetensors",
    *[f"program-{bucket}-{answer}.bin" for bucket in ("12x12", "20x24") for answer in ("moments", "samples")],
]


def test_the_files_are_those_of_the_format(folder: Path) -> None:
    assert {file.name for file in folder.iterdir()} == {"manifest.json", *FILES}


@pytest.mark.parametrize("file", FILES)
def test_a_changed_file_is_refused(copy: Path, file: str) -> None:
    content = bytearray((copy / file).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / file).write_bytes(content)
    with pytest.raises(InputError, match=f"{file}: got SHA-256 .*, expected .*changed"):
        load_servable(copy)


@pytest.mark.parametrize("file", ["manifest.json", *FILES])
def test_a_missing_file_is_refused(copy: Path, file: str) -> None:
    (copy / file).unlink()
    with pytest.raises(InputError, match=file):
        load_servable(copy)


def add_file(path: Path) -> None:
    (path / "extra.py").write_text("print()")


def add_folder(path: Path) -> None:
    (path / "extra").mkdir()


def add_link(path: Path) -> None:
    target = path / "weights.safetensors"
    target.rename(path.parent / "weights.safetensors")
    target.symlink_to(path.parent / "weights.safetensors")


def leave_the_folder(manifest: dict[str, Any]) -> None:
    manifest["files"]["../weights.safetensors"] = manifest["files"].pop("weights.safetensors")
    manifest["sizes"]["../weights.safetensors"] = manifest["sizes"].pop("weights.safetensors")
    manifest["weights"] = "../weights.safetensors"


MANIFESTS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "another schema": (lambda m: m.update(schema_version=2), "got schema_version 2, expected 1"),
    "an unknown field": (lambda m: m.update(hook="os.system"), "unknown field `hook`"),
    "a missing field": (lambda m: m.pop("buckets"), "missing required field `buckets`"),
    "an ill-typed field": (lambda m: m.update(num_samples="6"), "Expected `int`, got `str`"),
    "a path": (leave_the_folder, r"file: got '\.\./weights.safetensors'"),
    "a name that is a path": (lambda m: m.update(name="../heat"), r"name: got '\.\./heat'"),
    "a file without digest": (lambda m: m["files"].pop("test-0.safetensors"), "got digests of"),
    "a size of a file that there is not": (lambda m: m["sizes"].update(extra=1), "sizes: got those of"),
    "another size": (
        lambda m: m["sizes"].update({"weights.safetensors": 1}),
        "bytes, expected 1; the file was changed",
    ),
    "a bucket without program": (lambda m: m["buckets"].append([30, 30]), "programs: got .* expected"),
    "a bucket of too few points": (lambda m: m.update(buckets=[[4, 4]]), "8 modes need at least 9 points"),
    "a wrong basis": (lambda m: m["signature"]["axes"][0]["basis"].update(modes=6), "an argument is"),
    "a band without level": (lambda m: m.update(calibration={}), "calibration.level: got None"),
}


@pytest.mark.parametrize("case", MANIFESTS)
def test_a_manifest_that_does_not_fit_is_refused(copy: Path, case: str) -> None:
    change, message = MANIFESTS[case]
    change_manifest(copy, change)
    with pytest.raises(InputError, match=message):
        load_servable(copy)


@pytest.mark.parametrize("add", [add_file, add_folder, add_link])
def test_anything_else_in_the_folder_is_refused(copy: Path, add: Callable[[Path], None]) -> None:
    add(copy)
    with pytest.raises(InputError, match=r"extra|link"):
        load_servable(copy)


@pytest.mark.parametrize("text", [b"", b"[" * 100_000, b"\xff\xfe", b"null", b"[]"])
def test_a_manifest_that_is_none_is_refused(copy: Path, text: bytes) -> None:
    (copy / "manifest.json").write_bytes(text)
    with pytest.raises(InputError, match=r"manifest\.json"):
        load_servable(copy)


def test_a_custom_call_that_is_not_on_the_list_is_refused(copy: Path, servable: Servable) -> None:
    def program(weights: Any, inputs: Any, operands: Any) -> Any:
        mean = jax.ffi.ffi_call("run_anything", jax.ShapeDtypeStruct(inputs.shape, inputs.dtype))(inputs)
        return {"mean": mean, "aleatoric": mean, "epistemic": mean}

    shapes = argument_shapes(servable.manifest.signature, servable.weights, SMALL, "moments", 1)
    allowed = [export.DisabledSafetyCheck.custom_call("run_anything")]
    exported = export.export(jax.jit(program), platforms=["cpu", "cuda"], disabled_checks=allowed)(*shapes)
    replace(copy, "program-12x12-moments.bin", bytes(exported.serialize()))
    with pytest.raises(InputError, match="custom call 'run_anything' is not allowed"):
        load_servable(copy)


def test_a_program_that_speaks_to_the_host_is_refused(copy: Path, servable: Servable) -> None:
    module = b"""
        func.func public @main(%x: tensor<4xf32>, %t: !stablehlo.token) -> !stablehlo.token {
          %0 = "stablehlo.outfeed"(%x, %t) : (tensor<4xf32>, !stablehlo.token) -> !stablehlo.token
          return %0 : !stablehlo.token
        }"""
    exported = servable.programs[SMALL, "moments"]
    serialised = serialize_portable_artifact(ir.Module.parse(module, make_ir_context()), "1.0.0")
    forged = dataclasses.replace(exported, mlir_module_serialized=serialised)
    replace(copy, "program-12x12-moments.bin", bytes(forged.serialize()))
    with pytest.raises(InputError, match=r"operation 'stablehlo\.outfeed' is not allowed"):
        load_servable(copy)


def test_programs_of_another_bucket_or_kind_are_refused(copy: Path) -> None:
    for other in ("program-20x24-moments.bin", "program-12x12-samples.bin"):
        replace(copy, "program-12x12-moments.bin", (copy / other).read_bytes())
        with pytest.raises(InputError, match=r"program-12x12-moments\.bin: (an argument is|its arguments are not)"):
            load_servable(copy)


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x80\x04\x95." * 100])
def test_a_program_that_is_none_is_refused(copy: Path, content: bytes) -> None:
    replace(copy, "program-12x12-moments.bin", content)
    with pytest.raises(InputError, match=r"program-12x12-moments\.bin: not an exported program"):
        load_servable(copy)


def test_weights_that_answer_differently_are_refused_by_the_replay(copy: Path, tmp_path: Path) -> None:
    other = heat.weights(2) | {"noise": np.float32([2 * heat.NOISE])}
    replaced = heat.write(tmp_path, "other", weights=other, signature=heat.signature(2, ["moments"]))
    replace(copy, "weights.safetensors", (replaced / "weights.safetensors").read_bytes())
    with pytest.raises(InputError, match="aleatoric deviates by 3 of its largest value"):
        load_servable(copy).replay()


def unmasked(weights: dict[str, Any], inputs: Any, grid: Any, key: Any, *, num_samples: int = 0) -> Predictive:
    """A model that looks at the padding: its mean depends on the bucket."""
    full = heat.predict(weights, inputs, grid, key)
    mean = full.mean + jnp.mean(inputs**2, axis=(1, 2), keepdims=True)
    return Predictive(mean, full.aleatoric, full.epistemic, figures=full.figures)


def of_fields(weights: dict[str, Any], inputs: Any, grid: Any, key: Any, *, num_samples: int = 0) -> Predictive:
    """A model whose figure is a field."""
    full = heat.predict(weights, inputs, grid, key)
    return Predictive(full.mean, full.aleatoric, full.epistemic, figures={"ood": full.mean})


WRITES: dict[str, tuple[dict[str, Any], str]] = {
    "a name that is a path": ({"name": "../heat"}, r"servable name: got '\.\./heat'"),
    "no tests": ({"tests": []}, "got no tests"),
    "a test of another shape": ({"tests": [(np.zeros((3, 3, 1)), heat.grid(4, 4))]}, "got inputs"),
    "a test outside all buckets": ({"tests": [(np.zeros((30, 30, 1)), heat.grid(30, 30))]}, "got 30x30 points"),
    "a model that looks at the padding": (
        {"predict": unmasked, "signature": heat.signature(2, ["moments"])},
        r"bucket \(\d+, \d+\): mean deviates",
    ),
    "a figure that is a field": (
        {"predict": of_fields, "signature": heat.signature(2, ["moments"])},
        r"moments\.bin: ood is .*, expected float32 ending in \(\)",
    ),
    "a figure that it has not": (
        {"signature": msgspec.structs.replace(heat.signature(2, ["moments"]), figures=(Figure("risk"),))},
        r"moments\.bin: it gives .*, expected .*risk",
    ),
    "samples that it has not": ({"predict": heat.uncalibrated}, "got no samples"),
    "a band without a level": ({"calibration": None, "signature": heat.signature(2, ["moments"])}, "level: got None"),
}


@pytest.mark.parametrize("case", WRITES)
def test_what_cannot_be_served_is_not_written(tmp_path: Path, case: str) -> None:
    changes, message = WRITES[case]
    with pytest.raises(InputError, match=message):
        heat.write(tmp_path, **changes)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_version_is_never_overwritten(folder: Path) -> None:
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(InputError, match="exists already"):
        heat.write(folder.parents[1])
    assert before == {file.name: file.read_bytes() for file in folder.iterdir()}
    assert [path.name for path in folder.parent.iterdir()] == ["1"]


def test_random_damage_to_a_program_is_refused_or_harmless(copy: Path) -> None:
    name = "program-12x12-moments.bin"
    intact = (copy / name).read_bytes()
    generator = np.random.default_rng(0)
    for _ in range(20):
        damaged = bytearray(intact)
        for place in generator.integers(0, len(intact), 3):
            damaged[place] = generator.integers(256)
        replace(copy, name, bytes(damaged))
        with contextlib.suppress(InputError):  # and nothing but that
            load_servable(copy)
