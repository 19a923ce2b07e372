"""Data sets, one per file."""

from typing import TYPE_CHECKING

from nas.runtime.lazy import lazy_attributes

if TYPE_CHECKING:
    from nas.data.base import DataSet as DataSet
    from nas.data.cifar10 import Cifar10 as Cifar10
    from nas.data.digits import Digits as Digits
    from nas.data.image_folder import ImageFolder as ImageFolder
    from nas.data.images import Images as Images
    from nas.data.images import Split as Split
    from nas.data.torchvision_sets import Cifar100 as Cifar100
    from nas.data.torchvision_sets import FashionMnist as FashionMnist
    from nas.data.torchvision_sets import Mnist as Mnist
    from nas.data.torchvision_sets import Svhn as Svhn

__getattr__ = lazy_attributes(
    __name__,
    {
        "base": ("DataSet",),
        "cifar10": ("Cifar10",),
        "digits": ("Digits",),
        "image_folder": ("ImageFolder",),
        "images": ("Images", "Split"),
        "torchvision_sets": ("Cifar100", "FashionMnist", "Mnist", "Svhn"),
    },
)
