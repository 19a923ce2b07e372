"""Supernets: the training of their weights, within a gradient search or for a search on shared weights."""

from typing import TYPE_CHECKING

from nas.runtime.lazy import lazy_attributes

if TYPE_CHECKING:
    from nas.supernets.base import Discretization as Discretization
    from nas.supernets.base import GradientStrategy as GradientStrategy
    from nas.supernets.base import SupernetSearch as SupernetSearch
    from nas.supernets.base import SupernetSpace as SupernetSpace
    from nas.supernets.gradient import GradientSearch as GradientSearch
    from nas.supernets.recipe import SupernetRecipe as SupernetRecipe

__getattr__ = lazy_attributes(
    __name__,
    {
        "base": ("Discretization", "GradientStrategy", "SupernetSearch", "SupernetSpace"),
        "gradient": ("GradientSearch",),
        "recipe": ("SupernetRecipe",),
    },
)
