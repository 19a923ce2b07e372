"""Rules that turn the probabilities of a supernet into an architecture, one per file."""

from typing import TYPE_CHECKING

from nas.runtime.lazy import lazy_attributes

if TYPE_CHECKING:
    from nas.discretization.argmax import Argmax as Argmax
    from nas.discretization.perturbation import Perturbation as Perturbation

__getattr__ = lazy_attributes(
    __name__,
    {
        "argmax": ("Argmax",),
        "perturbation": ("Perturbation",),
    },
)
