"""Counting what a network holds and computes."""

from __future__ import annotations

import math
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from nas.core import UNCOUNTED_PREFIX, Task
from nas.space.network import SupportsPretrainedFeatures, auxiliary_head
from nas.training.lazy import materialize
from nas.training.memory_format import replace_strided
from nas.training.network_state import NetworkState
from nas.training.seeding import random_state_restored

COMPLEX_FACTOR = 4
"""Real multiply-accumulates in one of complex numbers."""
COMBINING_OPERATORS = re.compile(
    r"(native_|cudnn_|miopen_|quantized_|fused_)*(batch|layer|group|rms)_norm|weight_norm|linalg_(_?powsum|vector_norm|cross|check)"
    r"|upsample_|(cudnn_)?grid_sampler|(unsafe_)?(masked_)?index|(select_|slice_|diagonal_|as_strided_)?scatter"
    r"|gather|take|put|where|masked_(select|softmax|scale|fill|scatter)|copy|set|fill|prelu|rrelu|thnn_fused_|fused_sdp_choice"
    r"|(max_unpool|fractional_max_pool)\d|complex|polar|normal|bernoulli|binomial|bucketize|searchsorted|isin|hist"
    r"|dist|fake_quantize|resize|linspace|logspace|addr|equal|rsub|is_same_size|segment_reduce|floor_divide"
)
"""Operators of torch that take float tensors without contracting them: statistics, indexing, interpolation, outer
products. By the field's convention they count nothing, like pooling and activations."""
CONTRACTING_OPERATORS = re.compile(
    r"fft|linalg|cholesky|geqrf|ormqr|solve|conv(?!ert)|mm(?![aiy])|linear|rnn|gru|lstm|attention|transformer|dist|matrix|matmul"
)
"""Operators of torch that do the work of matrix products; `COMBINING_OPERATORS` comes first."""


@dataclass
class Work:
    """The cost of one image.

    Args:
        flops: Multiply-accumulate operations that were counted.
        uncounted: Operators whose work has no formula, each with its number of calls.
    """

    flops: int = 0
    uncounted: Counter[str] = field(default_factory=Counter)


def parameters(network: nn.Module) -> int:
    """Number of trainable values, without an auxiliary head, which is used only in training.

    The values of a pretrained network count whether they are trained or frozen.

    A lazy module has none before its first forward; `architecture` and `work` run one.
    """
    auxiliary = auxiliary_head(network)
    aside = set() if auxiliary is None else set(auxiliary.parameters())
    pretrained = isinstance(network, SupportsPretrainedFeatures)
    counted = (value for value in network.parameters() if pretrained or value.requires_grad)
    return sum(value.numel() for value in counted if value not in aside)


def architecture(network: nn.Module, task: Task) -> dict[str, float]:
    """Metrics that belong to the network itself: `parameters` and `flops`.

    Each operator that could not be counted adds `uncounted:NAME` with its number of calls, so a number that is too
    small is never without its reason.
    """
    counted = work(network, task)
    more = {f"{UNCOUNTED_PREFIX}{name}": calls for name, calls in sorted(counted.uncounted.items())}
    return {"parameters": parameters(network), "flops": counted.flops, **more}


def flops(network: nn.Module, task: Task) -> int:
    """Multiply-accumulate operations of one image; see `work`."""
    return work(network, task).flops


def work(network: nn.Module, task: Task) -> Work:
    """Multiply-accumulate operations of convolutions, matrix products, attention and recurrent layers for one image.

    The field calls this FLOPs. Additions of a bias, normalisation, activation, pooling, interpolation and elementwise
    products are not counted, so NAS-Bench-201's own figure is larger by the classifier's 10 bias additions. Attention
    counts as its two matrix products, masked or not; a recurrent layer as the products of its cells; a product of
    complex numbers as four of real ones.

    The network is run once, in evaluation mode and on the mathematical path, since fused kernels of attention have no
    formula. What it holds, its modes and the global random numbers stay unchanged, but lazy modules are initialised.

    Operators without a formula that may contract tensors are named: those of torch that are called so (FFT, linear
    algebra) or combine several float tensors, and all from outside of torch. Register a formula for your own with
    `torch.utils.flop_counter.register_flop_formula`. Kernels that bypass torch's dispatcher cannot be seen.
    """
    materialize(network, (task.channels, task.height, task.width))
    device = next((tensor.device for tensor in (*network.parameters(), *network.buffers())), torch.device("cpu"))
    image = torch.zeros(1, task.channels, task.height, task.width, device=device)
    counter = _WorkCounter()
    replace_strided(network, device)
    held = NetworkState(network)
    try:
        with random_state_restored(device), _plain_path(), torch.no_grad():
            network.eval()
            with counter:
                network(image)
    finally:
        held.restore()
    return counter.work


class _WorkCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the work of each operator that runs."""

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.work = Work()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        higher = isinstance(func, torch._ops.HigherOrderOperator)  # its own operators are hidden from here
        operator = func if higher else _functional(func)
        formula = FORMULAS.get(operator)
        if formula is None and operator not in flop_registry and not higher:
            with self:  # a composite operator is counted by its parts
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        if formula is not None:
            macs = formula(args, result)
        elif operator in flop_registry:
            macs = int(flop_registry[operator](*args, **kwargs, out_val=result)) // 2
        else:
            if higher or not _counts_nothing(operator, args, kwargs):
                self.work.uncounted[func.name() if higher else str(operator)] += 1
            return result
        is_complex = any(tensor.is_complex() for tensor in _tensors(args, kwargs))
        self.work.flops += macs * (COMPLEX_FACTOR if is_complex else 1)
        return result


@cache
def _functional(func: Any) -> Any:
    """The operator of an overload; for one that works in place, its functional form, which has the formula."""
    operator = func._overloadpacket
    return getattr(getattr(torch.ops, func.namespace), operator.__name__.removesuffix("_"), operator)


@cache
def _is_pointwise(operator: Any) -> bool:
    return any(torch.Tag.pointwise in getattr(operator, overload).tags for overload in operator.overloads())


def _counts_nothing(operator: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether an operator without a formula certainly contracts nothing."""
    namespace, name = operator._qualified_op_name.split("::")
    tensors = [list(_tensors([argument])) for argument in (*args, *kwargs.values())]
    if namespace == "prim" or _is_pointwise(operator) or not any(tensors):
        return True
    if namespace != "aten":
        return False
    if COMBINING_OPERATORS.match(name.strip("_")):
        return True
    floats = sum(any(tensor.is_floating_point() or tensor.is_complex() for tensor in given) for given in tensors)
    return floats <= 1 and not CONTRACTING_OPERATORS.search(name)


def _tensors(args: Sequence[Any], kwargs: Mapping[str, Any] | None = None) -> Iterator[Tensor]:
    for value in (*args, *(kwargs or {}).values()):
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from (element for element in value if isinstance(element, Tensor))


@contextmanager
def _plain_path() -> Iterator[None]:
    """Keep layers from fused kernels, which have no formula, and from compiled code, which hides its operators."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    with ExitStack() as stack:
        stack.callback(torch.backends.mha.set_fastpath_enabled, before)
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        if "torch._dynamo" in sys.modules:  # nothing is compiled without it, and importing it takes a second
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield


# --- formulas: multiply-accumulates, where torch has none ---------------------------------------------------------

Formula = Callable[[Sequence[Any], Any], int]


def _recurrent(sequence: Tensor, weights: Sequence[Tensor], packed: Sequence[int]) -> int:
    """Each matrix of a layer is applied once to each element of the sequence (bias aside).

    Args:
        sequence: (T, B, I), (B, T, I), or (sum of batch sizes, I) if packed.
        weights: Matrices, and biases with fewer than two dimensions.
        packed: Batch size of each step if packed, otherwise empty.
    """
    steps = sum(packed) if packed else math.prod(sequence.shape[:-1])
    return steps * sum(weight.numel() for weight in weights if weight.dim() > 1)


def _elements_times_last(args: Sequence[Any], result: Any) -> int:
    """One multiply-accumulate for each result and each element of the first argument's last dimension."""
    return int(result.numel() * args[0].shape[-1])


def _attention(query: Tensor, key: Tensor, value: Tensor) -> int:
    """Both products of attention; shapes (B, heads, length, width), where keys and values may share heads."""
    scores = math.prod(query.shape[:-1]) * key.shape[-2]
    return scores * (query.shape[-1] + value.shape[-1])


def _trilinear(args: Sequence[Any]) -> int:
    """Products over the broadcast of the three inputs, each expanded in the given dimensions (`F.bilinear`)."""
    shapes = []
    for tensor, expanded in zip(args[:3], args[3:6], strict=True):
        shape = list(tensor.shape)
        for dimension in sorted(expanded):
            shape.insert(dimension, 1)
        shapes.append(shape)
    return math.prod(max(sizes) for sizes in zip(*shapes, strict=True))


def _convolution_tbc(args: Sequence[Any], result: Any) -> int:
    """Time-first 1-d convolution: weight (K, C, O), result (T, B, O)."""
    kernel, channels, _ = args[1].shape
    return int(result.numel() * kernel * channels)


aten = torch.ops.aten
FORMULAS: Mapping[Any, Formula] = {
    aten.mv: lambda args, _: args[0].numel(),
    aten.addmv: lambda args, _: args[1].numel(),
    aten.dot: lambda args, _: args[0].numel(),
    aten.vdot: lambda args, _: args[0].numel(),
    aten.addbmm: lambda args, _: args[1].numel() * args[2].shape[-1],
    aten._int_mm: _elements_times_last,
    aten._sparse_addmm: lambda args, _: args[1].numel() * args[2].shape[-1],
    aten._cdist_forward: _elements_times_last,
    aten._euclidean_dist: _elements_times_last,
    aten._pdist_forward: _elements_times_last,
    aten._trilinear: lambda args, _: _trilinear(args),
    aten.conv_tbc: _convolution_tbc,
    aten._scaled_dot_product_flash_attention_for_cpu: lambda args, _: _attention(*args[:3]),
    aten._scaled_dot_product_fused_attention_overrideable: lambda args, _: _attention(*args[:3]),
    aten.mkldnn_rnn_layer: lambda args, _: _recurrent(args[0], args[1:3], args[8]),
    aten._cudnn_rnn: lambda args, _: _recurrent(args[0], args[1], args[13]),
    aten.miopen_rnn: lambda args, _: _recurrent(args[0], args[1], args[12]),
}
