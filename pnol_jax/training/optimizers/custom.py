"""An optimiser of one's own, found by its import path."""

import importlib
from typing import Any

import optax

from pnol_jax.errors import InputError
from pnol_jax.optimizer_config import CustomConfig


def custom(config: CustomConfig, rate: optax.Schedule) -> optax.GradientTransformationExtraArgs:
    """What the function of `config.path` makes of the learning rate and the options.

    Raises:
        InputError: there is no such function, it does not take the options, or it returns something else.
    """
    function = _imported(config.path)
    try:
        made = function(rate, **config.options)
    except (TypeError, ValueError) as error:
        raise InputError(f"optimizer.options: {config.path} refused {config.options}: {error}") from None
    if not isinstance(made, optax.GradientTransformation):
        got = type(made).__name__
        raise InputError(f"optimizer.path: {config.path} returned a {got}, expected an optax.GradientTransformation")
    return optax.with_extra_args_support(made)


def _imported(path: str) -> Any:
    module, _, name = path.partition(":")
    if not (module and name.isidentifier()):
        raise InputError(f"optimizer.path: got {path!r}, expected 'package.module:function'")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InputError(f"optimizer.path: got {path!r}, which cannot be imported: {error}") from None
    if not callable(function):
        raise InputError(f"optimizer.path: {path} is a {type(function).__name__}, expected a function")
    return function
