"""Listeners, which watch a search, one per file."""

from typing import TYPE_CHECKING

from nas.runtime.lazy import lazy_attributes

if TYPE_CHECKING:
    from nas.listeners.base import Listener as Listener
    from nas.listeners.base import SupportsEpochs as SupportsEpochs
    from nas.listeners.progress import Progress as Progress
    from nas.listeners.tensorboard import TensorBoard as TensorBoard

__getattr__ = lazy_attributes(
    __name__,
    {
        "base": ("Listener", "SupportsEpochs"),
        "progress": ("Progress",),
        "tensorboard": ("TensorBoard",),
    },
)
