"""Writing a variant as a new version, with what it was measured to lose and to save."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments import runs
from experiments.experiment import open_experiment
from experiments.export import as_served, buckets, described, next_version, served_name
from experiments.model import load_model
from experiments.risks import exact
from experiments.variants.base import find_base
from experiments.variants.cost import Cost, cost
from experiments.variants.losses import Losses, check_losses, measured_losses
from experiments.variants.make import Variant, make_variant, restoring
from experiments.variants.recipe import Recipe
from experiments.variants.shown import table
from pnol_jax.errors import InputError
from pnol_jax.servable import Servable, write_servable
from pnol_jax.servable.write import TOLERANCE

# Of the largest value, in a replay: bfloat16 states the logarithm of a variance, where that is 8 to 16, in steps of
# 2^-4, so a last bit that another order of sums turns over makes 6% of the variance.
OF_SIXTEEN_BITS = 0.1


def export_variant(
    folder: Path, to: Path, name: str | None, version: str | None, recipe: Recipe, max_loss: float | None = None
) -> Path:
    """Write a variant of a run's servable and return its path.

    Raises:
        InputError: the run's own servable is not in `to`; there are no test cases; the variant cannot be made, or loses
            more than `max_loss` (export.max_loss of the config if None). Nothing is written then.
    """
    experiment = open_experiment(as_served(runs.read_config(folder)))
    limit = experiment.config.export.max_loss if max_loss is None else max_loss
    if not limit >= 0:
        raise InputError(f"--max-loss: got {limit:g}, expected at least 0")
    model = load_model(folder, experiment)
    folders = [to / served_name(experiment), *([to / name] if name else [])]
    base = find_base(folders, model.params, buckets(experiment), folder)
    variant = make_variant(experiment, model, recipe)
    losses = measured_losses(experiment, model, variant)
    console = Console(stderr=True)
    for entry in losses:
        console.print(table(entry, recipe.words))
    check_losses(losses, limit, recipe.words)

    def about(made: Servable) -> dict[str, Any]:
        return record(recipe, base, variant, losses, limit, cost(base, made))

    name = name or served_name(experiment)
    return write_servable(
        to,
        name,
        version or next_version(to / name),
        predict=restoring(variant.model.predict),
        weights=variant.weights,
        tolerance=TOLERANCE if _precision(variant) == "float32" else OF_SIXTEEN_BITS,
        functional=None if exact(variant.experiment.posterior) is None else restoring(variant.model.functional),
        advance=restoring(variant.model.advance) if variant.experiment.posterior.has_samples else None,
        optimised=about,
        **described(folder, variant.experiment, variant.model),
    )


def record(
    recipe: Recipe, base: Servable, variant: Variant, losses: Sequence[Losses], limit: float, cost: Cost
) -> dict[str, Any]:
    """What a manifest says of a variant, as plain data; of pairs the base's number stands first."""
    chosen = variant.chosen
    return {
        "what": list(recipe.words),
        "of": {"name": base.manifest.name, "version": base.manifest.version, "digest": base.digest},
        "arithmetic": _arithmetic(variant, recipe),
        "members": None if chosen is None else {"chosen": list(chosen.members), "by_cases": chosen.cases},
        "max_loss": limit,
        "tests": {entry.name: _measured(entry) for entry in losses},
        "cost": asdict(cost),
    }


def _precision(variant: Variant) -> str:
    return variant.experiment.config.training.precision


def _arithmetic(variant: Variant, recipe: Recipe) -> str:
    """What its answers are computed in, in words."""
    of = _precision(variant)
    said = "products of float32, exact"
    if of != "float32":
        said = f"products of {of} in the operator, whose sums over modes are of float32: not those of exact float32"
    return said + ("; larger weights in int8, a scale for each output channel and mode" if recipe.int8 else "")


def _measured(losses: Losses) -> dict[str, Any]:
    changes = {
        name: {"before": found.before, "after": found.after, "change": found.change._asdict()}
        for name, found in losses.changes.items()
    }
    gaps = {name: gap._asdict() for name, gap in losses.gaps.items()}
    return {"cases": losses.cases, "scores": changes, "coverage_gaps": gaps}
