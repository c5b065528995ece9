"""A mesh changes where a run is computed and not what: every axis, alone and in pairs, for every operator."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pnol_jax.operators.table import OPERATORS
from pnol_jax.posteriors import POSTERIORS as TABLE

ROOT = Path(__file__).parents[2]
# Some of each: the deterministic posterior has a head and an H1 loss, the ensemble is unrolled from noisy states.
DETERMINISTIC = {"operator": "fno", "posterior": "deterministic", "training": {"loss": "h1"}}
ENSEMBLE = {"operator": "fno", "posterior": "ensemble", "training": {"unroll": 2, "input_noise": 0.1}}
PAIRS = [
    ("data", "space"),
    ("data", "model"),
    ("fsdp", "space"),
    ("fsdp", "model"),
    ("space", "model"),
    ("data", "fsdp"),
]


def answers(devices: int, precision: str, asked: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a process of its own with simulated devices answers."""
    command = [sys.executable, str(ROOT / "tests" / "divided.py"), str(devices), precision]
    lines = "".join(json.dumps(one) + "\n" for one in asked)
    done = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=900, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def on(problem: dict[str, Any], **mesh: int) -> dict[str, Any]:
    return problem | {"mesh": {"data": 1} | mesh}


def same(found: dict[str, Any], expected: dict[str, Any], tolerance: float) -> None:
    """Losses agree relatively; scores, some of which cross zero, to the same share of their largest value."""
    np.testing.assert_allclose(found["losses"], expected["losses"], rtol=tolerance)
    for name, values in expected.items():
        np.testing.assert_allclose(
            found[name], values, rtol=0, atol=10 * tolerance * np.abs(values).max(), err_msg=name
        )


@pytest.mark.parametrize(
    ("operator", "meshes"),
    [
        ("fno", [{axis: 2} for axis in ("data", "fsdp", "space", "model")]),
        ("fno", [{axis: 4} for axis in ("data", "fsdp", "space", "model")]),
        ("fno", [{first: 2, second: 2} for first, second in PAIRS]),
        ("ffno", [{"space": 2, "model": 2}, {"data": 2, "fsdp": 2}]),
        ("deeponet", [{"space": 2, "fsdp": 2}]),
        ("uno", [{"space": 2, "model": 2}, {"space": 4}]),
        ("transolver", [{"space": 2, "model": 2}, {"data": 2, "fsdp": 2}]),
    ],
    ids=["two", "four", "pairs", "ffno", "deeponet", "uno", "transolver"],
)
def test_a_mesh_changes_no_loss_and_no_score(operator: str, meshes: list[dict[str, int]]) -> None:
    problem = DETERMINISTIC | {"operator": operator}
    expected, *found = answers(4, "float32", [on(problem), *(on(problem, **mesh) for mesh in meshes)])
    for answer in found:
        same(answer, expected, 1e-5)


@pytest.mark.parametrize("field", ["periodic", "bounded"])
def test_modes_that_are_divided_with_the_field_change_nothing(field: str) -> None:
    """Two devices move sums of modes, four move points."""
    problem, each = DETERMINISTIC | {"field": field}, {"batched": True}  # operands per case
    meshes: list[dict[str, int]] = [{"space": 4}, {"space": 2, "fsdp": 2}]
    asked = [*(on(problem, **mesh) for mesh in meshes), on(problem | each, data=2, space=2)]
    expected, *found = answers(4, "float64", [on(problem), *asked])
    for answer in found:
        same(answer, expected, 1e-11)


def test_members_have_their_modes_divided_too() -> None:
    ensemble = ENSEMBLE | {"field": "periodic", "training": {"unroll": 2, "input_noise": 0.1, "remat": "full"}}
    expected, found = answers(4, "float32", [on(ensemble), on(ensemble, member=2, space=2)])
    same(found, expected, 1e-5)


def test_eight_devices_along_one_axis_and_along_three() -> None:
    meshes: list[dict[str, int]] = [{"data": 8}, {"fsdp": 8}, {"space": 8}, {"data": 2, "space": 2, "model": 2}]
    wide = DETERMINISTIC | {"options": {"expansion": 1.0}}  # which fsdp = 8 divides
    expected, *found = answers(8, "float32", [on(wide), *(on(wide, **mesh) for mesh in meshes)])
    for answer in found:
        same(answer, expected, 1e-5)


def test_members_of_an_ensemble_are_divided_with_everything_else() -> None:
    meshes: list[dict[str, int]] = [{"member": 4}, *({"member": 2, axis: 2} for axis in ("data", "fsdp", "space"))]
    expected, *found = answers(4, "float32", [on(ENSEMBLE), *(on(ENSEMBLE, **mesh) for mesh in meshes)])
    for answer in found:
        same(answer, expected, 1e-5)


def test_draws_that_march_with_members_are_the_same_wherever_members_are() -> None:
    """Five draws are two rounds of four members, the second filled up."""
    problem = ENSEMBLE | {"training": {}, "options": {"depth": 1, "width": 4}, "draws": 5}
    meshes: list[dict[str, int]] = [{"member": 4}, {"member": 2, "space": 2}]
    expected, *found = answers(4, "float64", [on(problem), *(on(problem, **mesh) for mesh in meshes)])
    for answer in found:
        same(answer, expected, 1e-10)


@pytest.mark.parametrize(
    ("given", "meshes"),
    [
        ({"heteroscedastic": False}, [{"data": 2, "space": 2}, {"fsdp": 2, "model": 2}]),
        ({"structure": "kronecker", "parameters": "all", "exact": 1, "probes": 3}, [{"data": 2, "space": 2}]),
        ({"structure": "low_rank", "rank": 4, "parameters": "spectral", "probes": 4}, [{"fsdp": 2, "space": 2}]),
        ({"structure": "diagonal", "parameters": "*.blocks.1.*", "probes": 3}, [{"fsdp": 2, "model": 2}]),
    ],
    ids=["full", "kronecker", "low_rank", "diagonal"],
)
def test_a_mesh_changes_no_curvature(given: dict[str, Any], meshes: list[dict[str, int]]) -> None:
    """Laplace is fitted and predicts on every axis; `space` divides the spectral layers' modes too."""
    problem = {"operator": "fno", "posterior": "laplace", "training": {"loss": "h1"}, "field": "bounded"}
    problem |= {"posterior_options": given, "draws": 2}
    expected, *found = answers(4, "float64", [on(problem), *(on(problem, **mesh) for mesh in meshes)])
    for answer in found:
        same(answer, {name: values for name, values in expected.items() if name in answer}, 1e-9)


def test_what_saves_memory_changes_nothing_on_a_mesh_either() -> None:
    frugal = DETERMINISTIC | {"training": {"loss": "h1", "remat": "full", "accumulate": 2}}
    meshes: list[dict[str, int]] = [{"fsdp": 2, "space": 2}, {"data": 2, "model": 2}]
    expected, *found = answers(4, "float32", [on(DETERMINISTIC), *(on(frugal, **mesh) for mesh in meshes)])
    for answer in found:
        same(answer, expected, 1e-5)


def test_in_double_precision_a_mesh_changes_nothing_but_rounding() -> None:
    meshes: list[dict[str, int]] = [{"data": 2, "space": 2}, {"fsdp": 2, "model": 2}, {"space": 4}]
    expected, *found = answers(4, "float64", [on(DETERMINISTIC), *(on(DETERMINISTIC, **mesh) for mesh in meshes)])
    for answer in found:
        same(answer, expected, 1e-11)


DROPPED = {"dropout": {"spectral": 0.3, "channel": 0.2}}
POSTERIORS: dict[str, tuple[str, dict[str, Any]]] = {
    "heads": ("heads", {"heads": 2, "heteroscedastic": False}),
    "dropout": ("dropout", {"draws": 2, "heteroscedastic": False} | DROPPED),
    "swag": ("swag", {"members": 2, "steps": 4, "every": 2, "rank": 2, "draws": 2}),
    "variational": ("variational", {"parameters": ["operator.*"], "rank": 2, "draws": 2, "heteroscedastic": False}),
    "masks": ("pno", {"variant": "dropout", "passes": 2} | DROPPED),
    "correlated": ("pno", {"noise": {"kind": "correlated"}}),
    "flow": ("flow", {"steps": 2, "pairs": 2}),
}
# Any other as it is by default; those of `DETERMINISTIC`, `ENSEMBLE` and of the curvature stand above.
ABOVE = {"deterministic", "ensemble", "laplace"} | {name for name, _ in POSTERIORS.values()}
POSTERIORS |= {name: (name, {}) for kind in TABLE if (name := str(kind.__struct_config__.tag)) not in ABOVE}


@pytest.mark.parametrize("case", POSTERIORS)
def test_what_a_posterior_draws_is_the_same_on_every_mesh(case: str) -> None:
    name, options = POSTERIORS[case]
    small = {"options": {"depth": 1, "width": 4}, "training": {}}
    problem = DETERMINISTIC | small | {"posterior": name, "posterior_options": options, "draws": 3}
    meshes: list[dict[str, int]] = [{"data": 2, "space": 2}, {"fsdp": 2, "model": 2}]
    expected, *found = answers(4, "float64", [on(problem), *(on(problem, **mesh) for mesh in meshes)])
    for answer in found:
        same(answer, expected, 1e-10)


@pytest.mark.parametrize("operator", OPERATORS)
def test_masks_are_the_same_where_modes_are_divided_too(operator: str) -> None:
    dropped = {"operator": operator, "field": "periodic", "training": {"unroll": 2, "remat": "full"}}
    problem = dropped | {"posterior": "dropout", "posterior_options": {"draws": 2} | DROPPED}
    expected, *found = answers(4, "float64", [on(problem), on(problem, space=4), on(problem, space=2, fsdp=2)])
    for answer in found:
        same(answer, expected, 1e-10)
