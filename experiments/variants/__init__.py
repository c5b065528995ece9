"""Smaller and faster servables of a trained run: how they are made, and what each is measured to lose."""

from experiments.variants.export import export_variant
from experiments.variants.make import Variant, make_variant
from experiments.variants.recipe import Recipe, read_recipe

__all__ = ["Recipe", "Variant", "export_variant", "make_variant", "read_recipe"]
