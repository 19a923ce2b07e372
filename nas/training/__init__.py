"""Plain training of one network, independent of any search."""

from typing import TYPE_CHECKING

from nas.runtime.lazy import lazy_attributes

if TYPE_CHECKING:
    from nas.training.recipe import Recipe as Recipe

__getattr__ = lazy_attributes(
    __name__,
    {
        "recipe": ("Recipe",),
    },
)
