"""Public functions and methods of pnol_jax, calls of which are held to the shapes that their docstrings state.

An argument that is an array has a shape of its entry under `Args:`, or else of `stated.NAMES`, where there is one; an
answer one of those that the docstring speaks of. A name stands for one number within a call (jaxtyping). Calls of
shapes that were met before are not looked at again, which keeps the tests as fast as they were. Left out is what is no
plain function: compiled by `jax.jit` where it is defined, static, a property, or taken by a table of its own module.
"""

import functools
import importlib.abc
import importlib.machinery
import inspect
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import jax
import numpy as np
from jaxtyping import Shaped, jaxtyped

from tests.shapes.stated import Stated, stated

PACKAGE = "pnol_jax"


class WrongShape(AssertionError):
    """An array of a shape that the docstring does not state."""


def checked(function: Callable[..., Any], of: Stated) -> Callable[..., Any]:
    signature = inspect.signature(function)
    where = f"{function.__module__}.{function.__qualname__}"

    met: set[tuple[str, ...]] = set()

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        answer = function(*args, **kwargs)  # first, as it may have words of its own for a shape that does not fit
        given = signature.bind(*args, **kwargs).arguments
        found = [(name, given.get(name), known) for name, known in of.arguments.items()]
        found.append(("the answer", answer, of.answer))
        shapes = tuple(str(getattr(value, "shape", None)) for _, value, _ in found)
        if shapes not in met:
            with jaxtyped("context"):
                for name, value, known in found:
                    check(where, name, value, known)
            met.add(shapes)
        return answer

    return call


def check(where: str, name: str, value: object, known: Sequence[str]) -> None:
    if not known or not isinstance(value, np.ndarray | jax.Array):
        return
    if not any(isinstance(value, Shaped[Any, shape]) for shape in known):
        listed = " or ".join(f"({shape})" for shape in known)
        raise WrongShape(f"{where}: {name} has shape {value.shape}, the docstring states {listed}")


def wrap(module: ModuleType) -> int:
    """Put checked functions and methods in the place of those that state shapes; return their number."""
    count = 0
    classes = [each for each in vars(module).values() if inspect.isclass(each) and each.__module__ == module.__name__]
    for owner in (module, *classes):
        for name, function in list(vars(owner).items()):
            own = inspect.isfunction(function) and function.__module__ == module.__name__
            if own and not name.startswith("_") and (of := stated(function)) != Stated({}, ()):
                setattr(owner, name, checked(function, of))
                count += 1
    return count


class Finder(importlib.abc.MetaPathFinder):
    """Wraps each module of the package once it has run, before another module takes a function from it."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name.split(".")[0] != PACKAGE:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                run(module)
                wrap(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def install() -> None:
    sys.meta_path.insert(0, Finder())
