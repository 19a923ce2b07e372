"""Networks that were trained on other pictures, whose features a new task can use."""

from typing import TYPE_CHECKING

from nas.runtime.lazy import lazy_attributes

if TYPE_CHECKING:
    from nas.backbones.base import Backbone as Backbone
    from nas.backbones.base import Body as Body
    from nas.backbones.by_name import make_backbone as make_backbone

__getattr__ = lazy_attributes(__name__, {"base": ("Backbone", "Body"), "by_name": ("make_backbone",)})
