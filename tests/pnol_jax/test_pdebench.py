"""Reading HDF5 files in every layout that PDEBench publishes, from small files written the same way."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pnol_jax.bases import Basis
from pnol_jax.data import (
    AxisSpec,
    CaseSet,
    Pipeline,
    SourceSpec,
    assemble,
    evaluation_batches,
    fields,
    fit_normaliser,
    read_cases,
)
from pnol_jax.data.columns import Column
from pnol_jax.data.fields import LazyField
from pnol_jax.errors import InputError
from pnol_jax.grids import Axis

CENTRES = AxisSpec("periodic", 1.0, "centre")
UNIT = AxisSpec("bounded", 1.0, "centre")


def write(path: Path, arrays: dict[str, Any], **attributes: Any) -> Path:
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array)
        file.attrs.update(attributes)
    return path


def centres(n: int, low: float = 0.0, high: float = 1.0) -> np.ndarray:
    return (low + (high - low) * (np.arange(n) + 0.5) / n).astype(np.float32)


def burgers(path: Path, cases: int = 5, times: int = 9, n: int = 16) -> tuple[Path, np.ndarray]:
    u = np.random.default_rng(1).standard_normal((cases, times, n)).astype(np.float32)
    t = (0.05 * np.arange(times + 1)).astype(np.float32)
    return write(path, {"tensor": u, "x-coordinate": centres(n), "t-coordinate": t}, Nu=0.01), u


def trajectories(time_step: float) -> SourceSpec:
    return SourceSpec((), ("tensor",), (CENTRES,), time_step)


@pytest.fixture(params=["in memory", "on the disk"])
def left_on_disk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Every test that asks for it runs once with fields in memory and once with fields that stay on the disk."""
    if request.param == "on the disk":
        monkeypatch.setattr(assemble, "loaded", lambda field: field)
    return bool(request.param == "on the disk")


def test_one_dimensional_trajectories(tmp_path: Path, left_on_disk: bool) -> None:
    path, u = burgers(tmp_path / "1D_Burgers.hdf5")
    cases = read_cases([path], trajectories(0.05))
    (group,) = cases.groups
    assert isinstance(group.outputs, LazyField) == left_on_disk
    np.testing.assert_array_equal(group.outputs, u[..., None])
    assert group.inputs.shape == (5, 16, 0)
    assert group.grid.axes[0] == Axis.uniform(16, "periodic", 1.0, "centre")
    assert cases.provenance["files"][0]["attributes"] == {"Nu": 0.01}
    assert (cases.input_channels, cases.output_channels, cases.trajectories) == (1, 1, True)


def test_a_longer_time_step_takes_every_kth_state(tmp_path: Path, left_on_disk: bool) -> None:
    path, u = burgers(tmp_path / "b.h5")
    (group,) = read_cases([path], trajectories(0.1)).groups
    np.testing.assert_array_equal(group.outputs, u[:, ::2, :, None])
    with pytest.raises(InputError, match=r"time_step: got 0\.07, expected a multiple of 0\.05"):
        read_cases([path], trajectories(0.07))


def test_darcy_flow_with_its_single_time(tmp_path: Path, left_on_disk: bool) -> None:
    rng = np.random.default_rng(2)
    nu, u = rng.random((4, 8, 6)), rng.random((4, 1, 8, 6)).astype(np.float32)
    arrays = {"nu": nu, "tensor": u, "x-coordinate": centres(8), "y-coordinate": centres(6), "t-coordinate": [0.0, 1.0]}
    path = write(tmp_path / "2D_DarcyFlow.hdf5", arrays, beta=1.0)
    cases = read_cases([path], SourceSpec(("nu",), ("tensor",), (UNIT, UNIT), select=("1:", "::2")))
    (group,) = cases.groups
    np.testing.assert_array_equal(group.inputs, nu[:, 1:, ::2, None].astype(np.float32))
    np.testing.assert_array_equal(group.outputs, u[:, 0, 1:, ::2, None])
    assert group.grid.axes[1].coordinates == pytest.approx((1 / 12, 5 / 12, 9 / 12))


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_compressible_flow_with_an_array_a_quantity(tmp_path: Path, ndim: int, left_on_disk: bool) -> None:
    rng = np.random.default_rng(3)
    names = ["density", "pressure", *("Vx", "Vy", "Vz")[:ndim]]
    space = (6, 4, 5)[:ndim]
    arrays = {name: rng.random((3, 4, *space), np.float32) for name in names}
    lines = {f"{axis}-coordinate": centres(n) for axis, n in zip("xyz", space, strict=False)}
    path = write(tmp_path / "CFD.hdf5", arrays | lines | {"t-coordinate": 0.1 * np.arange(5)})
    (group,) = read_cases([path], SourceSpec((), tuple(names), (CENTRES,) * ndim, 0.1)).groups
    np.testing.assert_array_equal(group.outputs, np.stack([arrays[name] for name in names], -1))


def test_incompressible_flow_with_channels_last_and_a_static_force(tmp_path: Path, left_on_disk: bool) -> None:
    rng = np.random.default_rng(4)
    velocity, force = rng.random((2, 5, 6, 6, 2), np.float32), rng.random((2, 6, 6, 2), np.float32)
    t = np.broadcast_to(0.01 * np.arange(5), (2, 5))
    path = write(tmp_path / "ns.h5", {"velocity": velocity, "force": force, "t": t})
    cases = read_cases([path], SourceSpec(("force",), ("velocity",), (UNIT, UNIT), 0.01))
    np.testing.assert_array_equal(cases.groups[0].outputs, velocity)
    np.testing.assert_array_equal(cases.groups[0].inputs, force)
    assert cases.input_channels == 4


def reaction(path: Path, cases: int = 12, times: int = 5, n: int = 8) -> tuple[Path, np.ndarray]:
    data = np.random.default_rng(5).standard_normal((cases, times, n, n, 2)).astype(np.float32)
    with h5py.File(path, "w") as file:
        for number, case in enumerate(data):
            group = file.create_group(f"{number:04d}")
            group.create_dataset("data", data=case)
            group.create_dataset("grid/x", data=centres(n, -1, 1))
            group.create_dataset("grid/y", data=centres(n, -1, 1))
            group.create_dataset("grid/t", data=np.linspace(0, 5, times, dtype=np.float32))
    return path, data


REACTION = SourceSpec((), ("data",), (AxisSpec("bounded", 2.0, "centre"),) * 2, 1.25)


def test_diffusion_reaction_with_a_group_a_case(tmp_path: Path, left_on_disk: bool) -> None:
    path, data = reaction(tmp_path / "2D_diff-react_NA_NA.h5")
    (group,) = read_cases([path], REACTION).groups
    np.testing.assert_array_equal(group.outputs, data)
    assert group.grid.axes == (Axis.uniform(8, "bounded", 2.0, "centre"),) * 2


def test_groups_on_different_grids_are_refused(tmp_path: Path) -> None:
    path, _ = reaction(tmp_path / "r.h5")
    with h5py.File(path, "a") as file:
        file["0003/grid/y"][2] = -0.7
    with pytest.raises(InputError, match="case '0003' has another grid in 'y' than case '0000'"):
        read_cases([path], REACTION)


def everything(cases: CaseSet) -> list[Any]:
    """All that training makes of a set."""
    bases = (Basis("padded", 5),) * cases.ndim
    norm = fit_normaliser(cases)
    with Pipeline(cases, 4, bases, seed=3, symmetries=("flip", "sign"), unroll=2) as pipeline:
        drawn = [next(pipeline) for _ in range(5)]
    once = list(evaluation_batches(cases, 4, bases, unroll=3))
    return [*norm.values(), *(part for batch in [*drawn, *once] for part in (batch.inputs, batch.outputs, batch.cases))]


def test_what_stays_on_the_disk_gives_what_memory_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = reaction(tmp_path / "r.h5")
    near, _ = read_cases([path], REACTION).split(3, seed=0)
    monkeypatch.setattr(assemble, "loaded", lambda field: field)
    far, _ = read_cases([path], REACTION).split(3, seed=0)
    assert isinstance(far.groups[0].outputs, LazyField)
    for ours, theirs in zip(everything(near), everything(far), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for key in (3, -1, slice(1, 7, 2), slice(None, None, -1), np.array([4, 0, 4]), (slice(2), 1), (2, ..., 0)):
        np.testing.assert_array_equal(far.groups[0].outputs[key], near.groups[0].outputs[key])


def test_small_fields_come_into_memory_and_large_ones_do_not() -> None:
    column = Column("zeros", np.zeros((4, 8)), (slice(None),), (8, 1))
    field = LazyField((column,), np.arange(4), "")
    assert isinstance(fields.loaded(field, limit=128), np.ndarray)
    assert fields.loaded(field, limit=127) is field


def test_the_digest_of_a_field_on_the_disk_names_file_and_selection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assemble, "loaded", lambda field: field)
    path, u = burgers(tmp_path / "b.h5")
    cases = read_cases([path], trajectories(0.05))
    moved = path.rename(tmp_path / "c.h5")
    assert read_cases([moved], trajectories(0.05)).digest == cases.digest
    others = [cases.select(("1:",)), cases.split(1, 0)[0], cases.split(1, 0)[1], read_cases([moved], trajectories(0.1))]
    u[0, 0, 0] += 1
    others.append(
        read_cases([write(tmp_path / "d.h5", {"tensor": u, "x-coordinate": centres(16)})], trajectories(0.05))
    )
    assert len({cases.digest, *(other.digest for other in others)}) == 6


def test_a_value_that_is_not_finite_is_found_when_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assemble, "loaded", lambda field: field)
    path, _ = reaction(tmp_path / "r.h5")
    with h5py.File(path, "a") as file:
        file["0007/data"][2, 3, 3, 1] = np.nan
    cases = read_cases([path], REACTION)
    with pytest.raises(InputError, match=r"array 'data', case 7: 1 values are not finite"):
        fit_normaliser(cases)
    bases = (Basis("padded", 5),) * 2
    with Pipeline(cases, 12, bases, unroll=4) as pipeline, pytest.raises(InputError, match="case 7"):
        next(pipeline)


def test_a_file_that_is_no_hdf5_or_cut_short_is_refused(tmp_path: Path) -> None:
    path, _ = burgers(tmp_path / "b.h5")
    data = path.read_bytes()
    for size in (0, 100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(InputError, match=r"b\.h5"):
            read_cases([path], trajectories(0.05))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (SourceSpec((), ("tensr",), (CENTRES,), 0.05), r"no array 'tensr'; did you mean 'tensor'\?"),
        (SourceSpec(("x-coordinate",), ("tensor",), (CENTRES,), 0.05), r"'x-coordinate' has shape \(16,\), expected"),
        (SourceSpec((), ("tensor",), (CENTRES, CENTRES), 0.05), r"'tensor' has shape \(5, 9, 16\), expected"),
        (SourceSpec((), ("tensor",), (AxisSpec("periodic", 3.0, "centre"),), 0.05), "do not fill the period 3"),
        (SourceSpec(("tensor",), ("tensor",), (CENTRES,)), "coordinates of shape"),
    ],
)
def test_what_does_not_fit_the_file_is_explained(tmp_path: Path, spec: SourceSpec, message: str) -> None:
    path, _ = burgers(tmp_path / "b.h5")
    with pytest.raises(InputError, match=message):
        read_cases([path], spec)
