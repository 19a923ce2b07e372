"""Simulated CUDA devices: tensors whose device is `cuda:N` and whose values are in main memory.

Every operation is checked as a real device checks it (all tensors on one device, generators of that device, nothing
that waits for the device while a graph is captured) and is then computed on the CPU. So a search on `cuda` runs through
the code that it would run through on a GPU, and its numbers can be compared with those of the CPU. torch's own
`FakeTensorMode` checks devices too, but has no values: no loss could be read and no graph replayed.

What it cannot show: kernels (rounding, speed, memory), streams (everything runs in order) and errors of the driver.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
CPU = torch.device("cpu")
GIB = 2**30
FREE, TOTAL = 60 * GIB, 80 * GIB
CAPTURING = "operation not permitted when stream is capturing"
INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}
"""Operations whose indices may lie on the CPU."""


class FakeTensor(torch.Tensor):
    """A tensor whose device is a CUDA device."""

    inner: torch.Tensor
    fake_device: torch.device

    @staticmethod
    def __new__(cls, inner: torch.Tensor, device: torch.device) -> FakeTensor:
        # a CUDA tensor for dispatch and autocast; for autograd's engine, which would ask the driver, a meta tensor
        with torch._C._DisableTorchDispatch():
            shape = torch.empty_strided(inner.shape, inner.stride(), dtype=inner.dtype, device="meta")
        tensor = torch.Tensor._make_subclass(cls, shape, False, device_for_backend_keys=device)
        tensor.inner, tensor.fake_device = inner, device
        return tensor

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return ACTIVE[-1].run(func, args, kwargs or {})

    @property
    def device(self) -> torch.device:
        return self.fake_device

    @property
    def is_cuda(self) -> bool:
        return True

    @property
    def is_meta(self) -> bool:
        return False

    def to(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        device, dtype, _, layout = torch._C._nn._parse_to(*args, **kwargs)
        stays = device is None or ACTIVE[-1].device_of(device, self.fake_device) == self.fake_device
        if stays and dtype in (None, self.dtype) and layout is None and not kwargs.get("copy"):
            return self
        return super().to(*args, **kwargs)

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def untyped_storage(self) -> torch.UntypedStorage:
        return self.inner.untyped_storage()

    def __deepcopy__(self, memo: dict[int, Any]) -> torch.Tensor:
        copied: torch.Tensor = self.detach().clone()
        if isinstance(self, torch.nn.Parameter):
            copied = torch.nn.Parameter(copied, self.requires_grad)
        return memo.setdefault(id(self), copied)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Saved as what a loader with `map_location="cpu"` would make of it."""
        return self.inner.detach().__reduce_ex__(protocol)

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"FakeTensor({self.inner}, device={self.device})"


class FakeCuda(TorchDispatchMode):
    """A context in which tensors can be on fake devices.

    Args:
        count: Number of devices.
        only: Index of the one device that may be used; None: any may.
    """

    def __init__(self, count: int, only: int | None) -> None:
        super().__init__()
        self.count, self.only = count, only
        self.current = 0
        self.initialised = False
        self.capture: FakeGraph | None = None
        self.captures = self.replays = 0
        self.reserved = self.allocated = 2**20

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.run(func, args, kwargs or {})

    def index(self, device: Any = None) -> int:
        """The index of a device as torch's own functions accept it; it must exist."""
        if isinstance(device, str):
            device = torch.device(device)
        index = device.index if isinstance(device, torch.device) else device
        index = self.current if index is None else int(index)
        if not 0 <= index < self.count:
            raise RuntimeError("CUDA error: invalid device ordinal")
        if self.only is not None and index != self.only:
            raise AssertionError(f"cuda:{index} is used instead of cuda:{self.only}")
        return index

    def device_of(self, device: Any, own: torch.device | None = None) -> torch.device:
        """A device with its index; what autograd takes for a meta device is the tensor's own."""
        device = torch.device(device)
        if device.type == "meta":
            return own or torch.device("cuda", self.current if self.only is None else self.only)
        return torch.device("cuda", self.index(device)) if device.type == "cuda" else device

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        fakes: list[FakeTensor] = []
        others: list[torch.Tensor] = []
        bare = [_bare(value, fakes, others) for value in args]
        options = {name: _bare(value, fakes, others) for name, value in kwargs.items()}
        if not fakes and kwargs.get("device") is None and self.capture is None:
            return func(*args, **kwargs)
        device = self._device(func, args, kwargs, fakes, others)
        if device.type == "cuda":
            self.initialised = True
            self.index(device)
        generator = kwargs.get("generator")
        if generator is not None and generator.device.type != device.type:
            raise RuntimeError(f"Expected a '{device.type}' device type for generator but found '{generator.device}'")
        crosses = any(fake.fake_device != device for fake in fakes) or (device.type == "cuda" and _any_dim(others))
        if self.capture is not None and (crosses or (fakes and func is aten._local_scalar_dense.default)):
            raise RuntimeError(CAPTURING)
        if options.get("device") is not None:
            options["device"] = CPU
        options.pop("pin_memory", None)
        if self.capture is not None and device.type == "cuda":
            outcome = self.capture.record(Call(func, tuple(bare), options))
        else:
            outcome = func(*bare, **options)
        if device.type == "cpu":
            return outcome
        written, returned = _writes(func)
        if returned:  # what an operation writes to is the tensor that it was given
            outputs = [args[position] if position < len(args) else kwargs[name] for position, name in written]
            return outputs[0] if returned == 1 else tuple(outputs[:returned])
        return _wrapped(outcome, device)

    def _device(
        self, func: Any, args: Any, kwargs: Any, fakes: list[FakeTensor], others: list[torch.Tensor]
    ) -> torch.device:
        """Where the outcome of an operation lies, by its arguments."""
        if func is aten.copy_.default:
            return args[0].device  # type: ignore[no-any-return]
        if kwargs.get("device") is not None:
            return self.device_of(kwargs["device"], fakes[0].fake_device if fakes else None)
        if not fakes:
            return CPU
        if func in INDEXING:
            if not isinstance(args[0], FakeTensor):
                raise RuntimeError("indices should be either on cpu or on the same device as the indexed tensor (cpu)")
            return args[0].fake_device
        first = fakes[0].fake_device
        if any(fake.fake_device != first for fake in fakes) or _any_dim(others):
            names = ", ".join(sorted({str(tensor.device) for tensor in [*fakes, *others]}))
            raise RuntimeError(f"Expected all tensors to be on the same device, but found {names} in {func}")
        return first


def _bare(value: Any, fakes: list[FakeTensor], others: list[torch.Tensor]) -> Any:
    """A value with the tensors inside fake ones; both kinds are collected."""
    if isinstance(value, FakeTensor):
        fakes.append(value)
        return value.inner
    if isinstance(value, torch.Tensor):
        others.append(value)
    elif isinstance(value, list | tuple):
        return [_bare(part, fakes, others) for part in value]
    return value


def _any_dim(tensors: list[torch.Tensor]) -> bool:
    """Whether one is more than a scalar, which a device takes from the CPU as it takes a number."""
    return any(tensor.dim() for tensor in tensors)


def _wrapped(value: Any, device: torch.device) -> Any:
    if isinstance(value, torch.Tensor):
        return FakeTensor(value, device)
    return type(value)(_wrapped(part, device) for part in value) if isinstance(value, list | tuple) else value


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)


@cache
def _writes(func: Any) -> tuple[list[tuple[int, str]], int]:
    """Position and name of the arguments that an operation writes to, and how many of them it returns."""
    written = [
        (position, argument.name)
        for position, argument in enumerate(func._schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    ]
    returns = func._schema.returns
    same = bool(written) and all(value.alias_info is not None and value.alias_info.is_write for value in returns)
    return written, len(returns) if same else 0


class Stream(NamedTuple):
    """What optimizers ask of a stream."""

    capturing: bool

    def is_capturing(self) -> bool:
        return self.capturing


class Call(NamedTuple):
    """One operation on bare tensors."""

    func: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def written(self) -> Iterator[torch.Tensor]:
        for position, name in _writes(self.func)[0]:
            yield from _tensors(self.args[position] if position < len(self.args) else self.kwargs.get(name))


class FakeGraph:
    """Records the operations of a capture, undoes what they did, and does them again at each replay."""

    def __init__(self) -> None:
        self.steps: list[tuple[Call, list[torch.Tensor | None]]] = []
        self.saved: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self.fresh: set[int] = set()
        self.device: int | None = None

    def record(self, call: Call) -> Any:
        for tensor in call.written():
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in self.fresh and storage.data_ptr() not in self.saved:
                whole = torch.empty(0, dtype=torch.uint8).set_(storage)  # type: ignore[call-overload]
                self.saved[storage.data_ptr()] = (whole, whole.clone())
        outcome = call.func(*call.args, **call.kwargs)
        given = {tensor.untyped_storage().data_ptr() for tensor in _tensors([call.args, [*call.kwargs.values()]])}
        new = [value if value.untyped_storage().data_ptr() not in given else None for value in _tensors(outcome)]
        self.fresh |= {value.untyped_storage().data_ptr() for value in new if value is not None}
        self.steps.append((call, new))
        return outcome

    def undo(self) -> None:
        """A capture computes nothing: values are as before it."""
        for whole, before in self.saved.values():
            whole.copy_(before)
        self.saved.clear()

    def replay(self) -> None:
        active = ACTIVE[-1]
        active.replays += 1
        assert active.current == self.device, f"captured on cuda:{self.device}, replayed on cuda:{active.current}"
        with torch.no_grad(), torch._C._DisableTorchDispatch():
            for call, outputs in self.steps:
                for old, new in zip(outputs, _tensors(call.func(*call.args, **call.kwargs)), strict=True):
                    if old is not None:
                        old.copy_(new)


ACTIVE: list[FakeCuda] = []


@contextlib.contextmanager
def fake_cuda(count: int = 1, only: int | None = None) -> Iterator[FakeCuda]:
    """CUDA devices for the time of a test.

    Args:
        count: Number of devices.
        only: Index of the only device that may be used: any other fails.
    """
    mode = FakeCuda(count, only)
    overwrites = torch.__future__.get_overwrite_module_params_on_conversion()
    lifts = torch._C._only_lift_cpu_tensors()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in _functions(mode).items():
            patch.setattr(torch.cuda, name, value)
        # every Adam asks on the current device whether a graph is captured
        patch.setattr(torch.accelerator, "current_stream", lambda: Stream(capturing=mode.capture is not None))
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(…, device="cuda") copies in an operation of its own
        ACTIVE.append(mode)
        try:
            with mode:
                yield mode
        finally:
            ACTIVE.pop()
            torch.__future__.set_overwrite_module_params_on_conversion(overwrites)
            torch._C._set_only_lift_cpu_tensors(lifts)


def _functions(mode: FakeCuda) -> dict[str, Any]:
    """What stands in for the functions of torch.cuda."""

    @contextlib.contextmanager
    def on(device: Any) -> Iterator[None]:
        before = mode.current
        mode.current = before if device is None else mode.index(device)
        try:
            yield
        finally:
            mode.current = before

    @contextlib.contextmanager
    def capture(graph: FakeGraph, **_: Any) -> Iterator[None]:
        graph.device, mode.capture = mode.index(), graph
        mode.captures += 1
        try:
            yield
        finally:
            mode.capture = None
            with torch._C._DisableTorchDispatch():
                graph.undo()

    def look(value: Callable[[], Any]) -> Callable[..., Any]:
        def answer(device: Any = None) -> Any:
            mode.index(device)
            return value()

        return answer

    def reset(device: Any = None) -> None:
        mode.index(device)
        if not mode.initialised:
            raise RuntimeError(f"Invalid device argument {device}: did you call init?")

    def set_state(state: torch.Tensor, device: Any = None) -> None:
        mode.index(device)
        torch.set_rng_state(state)

    class FakeStream:
        def __init__(self, device: Any = None) -> None:
            self.device = torch.device("cuda", mode.index(device))

        def wait_stream(self, other: FakeStream) -> None:
            assert other.device == self.device

    return {
        "is_available": lambda: mode.count > 0,
        "device_count": lambda: mode.count,
        "current_device": lambda: mode.current,
        "is_bf16_supported": lambda *_, **__: True,
        "is_current_stream_capturing": lambda: mode.capture is not None,
        "_lazy_init": lambda: None,
        "init": lambda: setattr(mode, "initialised", True),
        "manual_seed_all": lambda seed: None,
        "empty_cache": lambda: None,
        "device": on,
        "synchronize": look(lambda: None),
        "mem_get_info": look(lambda: (FREE, TOTAL)),
        "reset_peak_memory_stats": reset,
        "max_memory_allocated": look(lambda: mode.allocated),
        "memory_allocated": look(lambda: mode.allocated),
        "memory_reserved": look(lambda: mode.reserved),
        "get_device_name": lambda device=None: "a fake device",
        "get_rng_state": look(torch.get_rng_state),
        "set_rng_state": set_state,
        "Stream": FakeStream,
        "current_stream": FakeStream,
        "stream": lambda stream: on(stream.device),
        "CUDAGraph": FakeGraph,
        "graph": capture,
    }
