"""Recipes in the configuration: systems of our own, each compared with a control of the same cost (Table 8)."""

from __future__ import annotations

from pydantic import Field

from mlcslm.config.base import Name, Section


class RecipeConfig(Section):
    """A row of Table 8: a system, and the recipe of the same cost that it has to beat (docs/recipes.md)."""

    checkpoint: Name = Field(description="checkpoint, which is its stage's name")
    decoding: Name = Field("greedy", description="decoding")
    control: Name | None = Field(
        None, description="another recipe, of the same cost, that this one is compared with; none: no comparison"
    )
    note: str = Field("", description="what a reader must know about the row")
