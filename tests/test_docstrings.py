"""The docstring of a public function that takes or gives arrays states their shapes.

A method may leave that to its class, or to a contract: the method of this name of a base of its class, or of a protocol
of the same package whose public methods its class has, all of them.
"""

import ast
import re
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("pnol_jax", "serving", "experiments")
ARRAYS = re.compile(r"\b(jax\.Array|NDArray|ArrayLike|Float64)\b")

# What stands in brackets, as (), (n,), (batch, *space, channels), ([times,] *space), (steps + 1, *space).
BRACKETS = re.compile(r"(?<![\w.])\(([^()]*)\)")
NAME = r"(input |output )?[a-z_]+(\.[a-z_]+)?|[A-Z]|\d+"
DIMENSION = re.compile(rf"\.\.\.|\*?({NAME})( ([-+*/]|or) ({NAME}))*")
# Or words that hold for whatever comes.
ANY = re.compile(r"\b(any|one) shape\b")

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Class:
    """A class of a package: what it extends, its public methods, and all public names in its body."""

    package: str
    node: ast.ClassDef

    @property
    def bases(self) -> set[str]:
        return {ast.unparse(base).split("[")[0].split(".")[-1] for base in self.node.bases}

    @property
    def methods(self) -> dict[str, Function]:
        return dict(public(self.node.body))

    @property
    def names(self) -> set[str]:
        fields = (each.target for each in self.node.body if isinstance(each, ast.AnnAssign))
        return {*self.methods, *(ast.unparse(field) for field in fields)}


def public(body: Iterable[ast.stmt]) -> Iterator[tuple[str, Function]]:
    return ((node.name, node) for node in body if isinstance(node, Function) and not node.name.startswith("_"))


def is_shape(inside: str) -> bool:
    dimensions = [each.strip() for each in re.sub(r"[][]", "", inside).split(",") if each]
    listed = "," in inside or inside.startswith("*")
    return not inside or (listed and all(DIMENSION.fullmatch(each) for each in dimensions))


def states_shapes(node: Function | ast.ClassDef) -> bool:
    text = " ".join((ast.get_docstring(node) or "").split())
    return ANY.search(text) is not None or any(is_shape(inside) for inside in BRACKETS.findall(text))


def with_arrays(function: Function) -> bool:
    of = function.args
    arguments = (*of.posonlyargs, *of.args, *of.kwonlyargs, of.vararg, of.kwarg)
    annotations = (function.returns, *(each.annotation for each in arguments if each))
    return any(ARRAYS.search(ast.unparse(each)) for each in annotations if each)


def contracts(of: Class, classes: list[Class]) -> list[Class]:
    """What the class extends, and the protocols that it fulfils."""
    room = [each for each in classes if each.package == of.package]
    bases = [of]
    for base in bases:
        bases += [each for each in room if each.node.name in base.bases and each not in bases]
    has = {name for base in bases for name in base.names}
    return bases + [each for each in room if "Protocol" in each.bases and each.methods and {*each.methods} <= has]


def silent(modules: dict[str, ast.Module]) -> list[str]:
    """The public functions and methods with arrays whose shapes are stated nowhere, as file:line name."""
    classes = [
        Class(path.split("/")[0], node)
        for path, module in modules.items()
        for node in module.body
        if isinstance(node, ast.ClassDef)
    ]
    excused = set()
    for of in classes:
        stated = [each.methods for each in contracts(of, classes)]
        excused |= {
            node
            for name, node in public(of.node.body)
            if states_shapes(of.node) or any(name in methods and states_shapes(methods[name]) for methods in stated)
        }
    return [
        f"{path}:{node.lineno} {name}"
        for path, module in modules.items()
        for body in (
            module.body,
            *(each.body for each in module.body if isinstance(each, ast.ClassDef) and not each.name.startswith("_")),
        )
        for name, node in public(body)
        if with_arrays(node) and node not in excused and not states_shapes(node)
    ]


def test_shapes_are_stated() -> None:
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    assert silent({str(path.relative_to(ROOT)): ast.parse(path.read_text()) for path in paths}) == []


EXAMPLE = """
    def stated(field: jax.Array) -> float:
        'The mean of a field, ([steps,] *space, output channels).'
    def words(field: jax.Array) -> NDArray[Any]:
        'The field on the host, any shape.'
    def silent(field: jax.Array) -> float:
        'The mean of a field (see there).'
    class Contract(Protocol):
        def call(self, field: jax.Array) -> jax.Array:
            'Of a field, (n,).'
    class Base:
        def fulfilled(self, field: jax.Array) -> jax.Array:
            'Of numbers, ().'
    class Fulfils(Base):
        def call(self, field: jax.Array) -> jax.Array:
            'Its own.'
        def fulfilled(self, field: jax.Array) -> jax.Array:
            'Its own.'
        def other(self, field: jax.Array) -> jax.Array:
            'Its own.'
"""


def test_silence_is_noticed() -> None:
    found = silent({"package/module.py": ast.parse(textwrap.dedent(EXAMPLE))})
    assert [line.split()[1] for line in found] == ["silent", "other"]
