"""Data sets, one a file."""

from typing import TYPE_CHECKING

from nas.runtime.lazy import lazy_attributes

if TYPE_CHECKING:
    from nas.data.base import DataSet as DataSet
    from nas.data.base import Images as Images
    from nas.data.base import Split as Split
    from nas.data.cifar10 import Cifar10 as Cifar10
    from nas.data.digits import Digits as Digits

__getattr__ = lazy_attributes(
    __name__,
    {
        "base": ("DataSet", "Images", "Split"),
        "cifar10": ("Cifar10",),
        "digits": ("Digits",),
    },
)
