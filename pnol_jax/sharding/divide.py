"""Programs divided over the mesh at hand: every device computes on its own part of the arrays.

The mesh is the one that `jax.set_mesh` has set; without one, or on one device, a program is compiled as it stands. How
arrays are divided is read from the arrays themselves, so that whoever placed them has said it once.
"""

from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from pnol_jax.sharding.partition import on, shardings, spec

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
Specs = Any  # a tree of PartitionSpec


def specs_of(tree: Any) -> Specs:
    """How each array of a tree is divided: the tree of its partition specs."""
    return jax.tree.map(_spec, tree)


def _spec(leaf: Any) -> PartitionSpec:
    sharding = getattr(leaf, "sharding", None)
    return sharding.spec if isinstance(sharding, NamedSharding) else spec()


def divide(function: Callable[P, R], takes: tuple[Specs, ...], gives: Specs) -> Callable[P, R]:
    """The function of whole arrays whose parts are computed by `function` of the arguments' parts, inside `jit`."""
    mesh = current_mesh()
    if mesh is None:
        return function
    given, made = jax.tree.map(lambda division: on(mesh, division), (takes, gives))
    mapped: Callable[P, R] = jax.shard_map(function, mesh=mesh, in_specs=given, out_specs=made)
    return mapped


def holder(specs: Specs) -> Callable[[T], T]:
    """A function that holds the arrays of a tree divided as `specs` say, for use inside `jit`."""
    mesh = current_mesh()
    if mesh is None:
        return lambda tree: tree
    places = shardings(mesh, specs)

    def hold(tree: T) -> T:
        held: T = jax.lax.with_sharding_constraint(tree, places)  # type: ignore[no-untyped-call]
        return held

    return hold


def current_mesh() -> Mesh | None:
    """The mesh that programs are divided over, None where there is but one device."""
    mesh = jax.sharding.get_mesh()
    return mesh if isinstance(mesh, Mesh) and mesh.size > 1 else None


class Program(Generic[P, R]):
    """A function compiled once for every way in which its arguments are divided.

    `make(*specs)` builds it, given the arguments' trees of partition specs.
    """

    def __init__(self, make: Callable[..., Callable[P, R]], donate: tuple[int, ...] = ()) -> None:
        self._make = make
        self._donate = donate
        self._compiled: dict[Any, Any] = {}

    def __call__(self, *arguments: P.args, **named: P.kwargs) -> R:
        """Run it on the arguments' parts, none of which is given by name.

        Raises:
            TypeError: one is.
        """
        if named:
            raise TypeError(f"got {sorted(named)} by name, expected arguments in their order")
        result: R = self._jitted(arguments)(*arguments)
        return result

    def lower(self, *arguments: Any) -> Any:
        """As `jax.jit(...).lower`: of arrays, or of shapes with their shardings."""
        return self._jitted(arguments).lower(*arguments)

    def plain(self, *arguments: P.args, **_: P.kwargs) -> Callable[P, R]:
        """The function itself, not compiled, for arguments (or shapes) that are divided like these."""
        return self._make(*specs_of(arguments))

    def _jitted(self, arguments: tuple[Any, ...]) -> Any:
        mesh = current_mesh()
        key: tuple[Any, ...] = ()
        if mesh is not None:
            leaves, tree = jax.tree.flatten(specs_of(arguments))
            key = (mesh, tree, *leaves)
        if key not in self._compiled:
            self._compiled[key] = jax.jit(self._make(*specs_of(arguments)), donate_argnums=self._donate)
        return self._compiled[key]


def divided(function: Callable[P, R], gives: Specs) -> Program[P, R]:
    """Compile a function of parts; `gives` says how its results are divided (a prefix of their tree)."""
    return Program(lambda *takes: divide(function, takes, gives))
