"""The memory format in which a network is run: channels-last if possible, otherwise contiguous.

torch's format for 4-d tensors; the numbers are the same up to rounding. Two things rule out channels-last:
code that needs the contiguous order, such as `x.view(x.size(0), -1)` after a convolution, and a defect of oneDNN.

The defect (seen in torch 2.9 to 2.14): without AVX-512 its strided 1x1 convolution writes beyond its memory when the
image that it strides over has fewer than 8 channels-last channels. Such a convolution gets an image that was strided
beforehand; other machines use the plain one, whose sums may round differently.
"""

from __future__ import annotations

import os
import platform
import types
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from nas.training.network_state import NetworkState
from nas.training.seeding import random_state_restored

SAFE_CHANNELS = 8
"""Number of channels from which oneDNN's AVX2 kernel stays within its memory."""

_channels_last: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()
"""Decision for each network that still exists."""


def settle(network: nn.Module, image: Sequence[int], device: torch.device, *, channels_last: bool) -> bool:
    """Decide on the format of a network's images, once, and replace the convolutions that channels-last breaks.

    If channels-last is wanted, the network is run on two blank images in evaluation and in training mode, with its
    parameters in that format, which changes nothing in it. A network that only runs in contiguous memory gets that,
    with a warning.

    Args:
        network: Network without lazy modules.
        image: Shape (C, H, W).
        device: Device of network and images.
        channels_last: Whether that format is wanted.

    Returns:
        Whether its images are to be channels-last.
    """
    if not channels_last:
        return False
    if network not in _channels_last:
        replace_strided(network, device)
        reason = _refusal(network, image, device, channels_last=True)
        if reason is None or _refusal(network, image, device, channels_last=False) is not None:
            _channels_last[network] = True  # a network that runs in neither fails when it is trained
        else:
            fall_back(network, reason)
    return _channels_last[network]


def fall_back(network: nn.Module, reason: str) -> None:
    """Give a network contiguous images from now on, and warn once."""
    _channels_last[network] = False
    warn_once(reason)


@cache
def warn_once(reason: str) -> None:
    warnings.warn(
        f"the network does not run in channels-last memory format ({reason}); it is trained in contiguous format, as "
        "trainer.channels_last=false does without this warning",
        stacklevel=1,
    )


def to_channels_last(network: nn.Module, device: torch.device) -> None:
    """Convert the 4-d parameters and buffers of a network, and replace the convolutions that it would break.

    `Module.to` does not convert a network that has 5-d parameters at all.
    """
    replace_strided(network, device)

    def convert(tensor: Tensor) -> Tensor:
        return tensor.to(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor

    network._apply(convert)  # type: ignore[no-untyped-call]


def to_contiguous(network: nn.Module) -> None:
    """Convert the 4-d parameters and buffers of a network back."""
    network._apply(lambda t: contiguous(t) if t.dim() == 4 else t)  # type: ignore[no-untyped-call]


def channels_last(images: Tensor) -> Tensor:
    """Images (B, C, H, W) with channels-last strides, even with one channel, like the batches of a training."""
    return contiguous(images.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def contiguous(images: Tensor) -> Tensor:
    """Images (B, C, H, W) whose strides are those of the contiguous format.

    `Tensor.contiguous` leaves images of one channel, whose elements lie in both orders, with channels-last strides.
    """
    return images if _is_standard(images) else images.clone(memory_format=torch.contiguous_format)


def is_defective() -> bool:
    """Whether oneDNN may use its AVX2 kernels on this machine."""
    if platform.machine() not in ("x86_64", "AMD64", "i686", "x86"):
        return False
    limit = (os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or "ALL").upper()
    restricted = not limit.startswith(("AVX512", "AVX10", "ALL", "DEFAULT"))
    return restricted or torch.backends.cpu.get_cpu_capability() != "AVX512"


def replace_strided(network: nn.Module, device: torch.device) -> None:
    """Replace strided 1x1 convolutions with few input channels by slicing, if oneDNN's kernel is defective."""
    if device.type != "cpu" or not is_defective():
        return
    for module in network.modules():
        if (
            isinstance(module, nn.Conv2d)
            and module.in_channels < SAFE_CHANNELS
            and max(module.kernel_size) == 1 < max(module.stride)
            and module.padding in ((0, 0), "valid")
            and module.groups == 1
        ):
            # on the instance, so that class, name and state of the module stay as they are
            module._conv_forward = types.MethodType(_strided_beforehand, module)  # type: ignore[method-assign]


def _strided_beforehand(module: nn.Conv2d, images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`nn.Conv2d._conv_forward` of a 1x1 kernel: slicing does the stride."""
    down, right = module.stride
    return F.conv2d(images[..., ::down, ::right].contiguous(memory_format=torch.channels_last), weight, bias)


class _Unrunnable(RuntimeError):
    """A convolution that would corrupt memory."""


class _Guard(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Stops before oneDNN's defective kernel is reached, whoever calls it."""

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch.ops.aten.convolution.default and _overruns(args[0], args[1], args[3], args[4], args[8]):
            raise _Unrunnable(f"its strided 1x1 convolution of {args[0].shape[1]} channels needs AVX-512")
        return func(*args, **(kwargs or {}))


def _overruns(images: Tensor, weight: Tensor, stride: Sequence[int], padding: Sequence[int], groups: int) -> bool:
    """Whether a convolution, or its gradient, strides with a 1x1 kernel over an image of few channels-last channels."""
    if images.dim() != 4 or max(weight.shape[2:]) > 1 or max(stride) == 1 or max(padding) > 0 or groups > 1:
        return False
    few = weight.shape[1] < SAFE_CHANNELS  # of the image that is strided over: the output, if transposed
    return few and not (_is_standard(images) and _is_standard(weight))


def _is_standard(tensor: Tensor) -> bool:
    """Whether the strides are those of the contiguous format."""
    _, channels, height, width = tensor.shape
    return tensor.stride() == (channels * height * width, height * width, width, 1)


def _refusal(network: nn.Module, image: Sequence[int], device: torch.device, *, channels_last: bool) -> str | None:
    """Why a network does not run in a format of its images and parameters; None if it does."""
    channels, height, width = image
    shape = (2, height, width, channels) if channels_last else (2, *image)
    blank = torch.zeros(shape, device=device)
    blank = blank.permute(0, 3, 1, 2) if channels_last else blank
    held = NetworkState(network)
    try:
        with random_state_restored(device), torch.no_grad(), ExitStack() as stack:
            if device.type == "cpu" and is_defective():
                stack.enter_context(_Guard())  # type: ignore[no-untyped-call]
            if channels_last:
                to_channels_last(network, device)
            for training in (False, True):
                network.train(training)
                network(blank)
    except Exception as error:  # noqa: BLE001 (the training reports what a forward raises in both formats)
        return " ".join(str(error).split())[:200]
    finally:
        held.restore()
    return None
