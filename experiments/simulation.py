"""What a simulated data set is made of: everything that decides its bits, and its cases one after the other."""

import hashlib
import importlib.metadata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pnol_jax import grids, toml
from pnol_jax.data import simulators
from pnol_jax.data.shards import Case
from pnol_jax.data.simulators import SIMULATORS, Simulator
from pnol_jax.errors import InputError

PACKAGES = ("jax", "jaxlib", "numpy", "scipy", "exponax")
CANNOT = (
    InputError,
    ArithmeticError,
    np.linalg.LinAlgError,
)  # errors of a case; any other is a defect or the machine's


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is simulated. Two plans that are equal give the same files bit for bit, on the same kind of processor."""

    problem: str
    parameters: dict[str, Any]
    cases: int
    points: list[int]
    seed: int
    shard_size: int | None  # cases in a shard; None: each grid's arrays are one file
    code: str  # a digest of the simulators' source
    versions: dict[str, str]

    def simulator(self) -> Simulator:
        """The problem with its parameters.

        Raises:
            InputError: parameters that it does not have or that are not possible.
        """
        return toml.parse(self.parameters, SIMULATORS[self.problem], self.problem)


def make_plan(
    simulator: Simulator, problem: str, cases: int, points: Iterable[int], seed: int, shard_size: int | None
) -> Plan:
    """The plan of a simulator's cases with the code and the packages of this process."""
    parameters = msgspec.to_builtins(simulator)
    return Plan(problem, parameters, cases, [*dict.fromkeys(points)], seed, shard_size, **this_code())


def this_code() -> dict[str, Any]:
    """A SHA-256 of the source that computes a case, and the packages that it uses."""
    state = hashlib.sha256()
    for file in (*sorted(Path(str(simulators.__file__)).parent.glob("*.py")), Path(str(grids.__file__))):
        state.update(file.name.encode() + file.read_bytes())
    return {"code": state.hexdigest(), "versions": {name: importlib.metadata.version(name) for name in PACKAGES}}


def check_code(plan: Plan) -> None:
    """Compare this process with a plan.

    Raises:
        InputError: its code or its packages are others.
    """
    lines = differences(this_code(), {"code": plan.code, "versions": plan.versions})
    if lines:
        raise InputError(f"this worker cannot keep to the plan: {'; '.join(lines)}")


def differences(plan: Any, other: Any, path: str = "") -> list[str]:
    """Where two trees of plain values differ, each as a line of what is got and what was expected."""
    if not (isinstance(plan, dict) and isinstance(other, dict)):
        return [] if plan == other else [f"{path}: got {plan!r}, expected {other!r}"]
    keys = dict.fromkeys((*plan, *other))
    return [
        line for key in keys for line in differences(plan.get(key), other.get(key), f"{path}.{key}" if path else key)
    ]


def group_name(simulator: Simulator, points: int) -> str:
    """The folder of the cases on one grid."""
    return "x".join([str(points)] * simulator.ndim)


def coordinates(simulator: Simulator, points: int, times: int) -> dict[str, NDArray[Any]]:
    """Where the points are, (points,) an axis, and, of trajectories, when the states are, (times,)."""
    arrays: dict[str, NDArray[Any]] = {
        name: axis.points for name, axis in zip("xyz", simulator.axes(points), strict=False)
    }
    return arrays if simulator.time_step is None else arrays | {"t": simulator.time_step * np.arange(times)}


def compute(simulator: Simulator, seed: int, numbers: Iterable[int], points: int, allowed: int) -> Iterator[Case]:
    """Cases by number. Each depends on the seed and its number alone.

    Raises:
        InputError: more than the `allowed` number of them cannot be computed.
    """
    failed = 0
    for number in numbers:
        case = compute_case(simulator, seed, number, points)
        failed += case.arrays is None
        if failed > allowed:
            raise InputError(f"case {number}: {case.line['error']}")
        yield case


def compute_case(simulator: Simulator, seed: int, number: int, points: int) -> Case:
    """One case as float32, with its seed, the parameters that were drawn for it, or its error."""
    line = {"case": number, "seed": [seed, number]}
    try:
        drawn = simulator.case(np.random.default_rng([seed, number]), points)
        with np.errstate(over="ignore"):
            arrays = {name: np.asarray(values, np.float32) for name, values in drawn.items()}
        for name, values in arrays.items():
            if not np.all(np.isfinite(values)):
                raise InputError(f"{name} is not finite everywhere (NaN, infinite or beyond float32)")
    except CANNOT as error:
        return Case(line | {"error": f"{error}"}, None)
    parameters = {name: float(values) for name, values in drawn.items() if np.ndim(values) == 0}
    return Case(line | ({"parameters": parameters} if parameters else {}), arrays)
