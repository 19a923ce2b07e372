"""Abilities of a network beyond logits that training uses. A network declares each by deriving from its class.

An attribute of the same name is not enough: users' networks may have a `drop_path` module or an `auxiliary` flag of
their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn


class SupportsDropPath:
    """A network whose edges are dropped in training (ScheduledDropPath; Zoph et al., CVPR 2018).

    Attributes:
        drop_path: Probability that an edge is dropped, 0 to below 1; a number that training sets before each epoch.
    """

    drop_path: float


class SupportsAuxiliaryHead:
    """A network that may have a second classifier, used only in training (Szegedy et al., CVPR 2015).

    Attributes:
        auxiliary: The second classifier, or None. With one, `forward` returns (logits, auxiliary logits) in training
            mode, each (B, classes), and only logits in evaluation mode.
    """

    auxiliary: nn.Module | None


class SupportsPretrainedFeatures:
    """A network whose body has been trained on other images, with a linear classifier on its features.

    Training computes the features of the training images first and fits the classifier to them. A network whose other
    parameters are all frozen is then trained.

    Attributes:
        head: The classifier, features (B, F) to logits (B, classes).
    """

    head: nn.Linear

    def features(self, images: Tensor) -> Tensor:
        """Features (B, F) of normalised images (B, C, H, W)."""
        raise NotImplementedError

    def normalised_by(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Take notice of how the images are normalised, since the body knows images normalised in its own way.

        Args:
            mean, std: Per channel, of pixel values scaled to 0-1.
        """
        raise NotImplementedError


def auxiliary_head(network: nn.Module) -> nn.Module | None:
    """The second classifier of a network, or None."""
    return network.auxiliary if isinstance(network, SupportsAuxiliaryHead) else None
