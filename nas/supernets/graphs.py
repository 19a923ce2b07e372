"""A search step that runs as one CUDA graph: at batch 64 a plain step waits for thousands of kernel launches.

A step can be recorded if it is the same computation each time. It must not draw random numbers or read values from the
device, batches must have one size, and the learning rate must be constant: each epoch is recorded again, after ordinary
steps in which optimizers allocate their buffers and libraries choose their kernels.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from nas.supernets.steps import Batch
from nas.training.device import current

Step = Callable[[Batch, Batch], Tensor]
Recorder = Callable[[Callable[[], Tensor]], Callable[[], Tensor]]
STEPS_BEFORE_RECORDING = 2
"""Ordinary steps of an epoch before one is recorded."""


def cuda_graph(step: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """Record a step without running it.

    The device of the step must be CUDA's current one, here and where the returned function is called.

    Returns:
        A function that runs the step on the same memory and returns the same tensor, overwritten.

    Raises:
        RuntimeError: Something in the step cannot be recorded.
    """
    graph = torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    try:
        with torch.cuda.graph(graph, stream=_side_stream(torch.cuda.current_device())):
            result = step()
    except RuntimeError:
        _end_recording()
        raise

    def run() -> Tensor:
        graph.replay()
        return result

    return run


@lru_cache
def _side_stream(index: int) -> torch.cuda.Stream:
    """The stream of a device on which steps are recorded: cuBLAS keeps a workspace of 65 MiB for each stream."""
    return torch.cuda.Stream(index)  # type: ignore[no-untyped-call]


def _end_recording() -> None:
    """Make random numbers on the device possible again after a recording that failed.

    torch leaves its generator in the state of a recording ("Offset increment outside graph capture encountered
    unexpectedly"), which only a recording that succeeds ends.
    """
    with torch.cuda.graph(torch.cuda.CUDAGraph()):
        torch.zeros(1, device="cuda")


class GraphStep:
    """(train, valid) -> loss, like the step itself; the next call overwrites the loss.

    Args:
        step: Computation on a training and a validation batch.
        size: Images of a full batch; other batches are run as ordinary steps.
        record: Records a step and returns a function that runs it again.
    """

    def __init__(self, step: Step, size: int, record: Recorder = cuda_graph) -> None:
        self.step = step
        self.size = size
        self.record = record
        self.usable = True
        self.start_epoch()

    def start_epoch(self) -> None:
        """Discard the recorded step, whose learning rate is that of the epoch before."""
        self._recorded: Callable[[], Tensor] | None = None
        self._ordinary = 0

    def __call__(self, train: Batch, valid: Batch) -> Tensor:
        with current(train[0].device):  # a graph is recorded on the current device, not on that of its tensors
            return self._run(train, valid)

    def _run(self, train: Batch, valid: Batch) -> Tensor:
        if not self.usable or not len(train[1]) == len(valid[1]) == self.size:
            return self.step(train, valid)
        if self._ordinary < STEPS_BEFORE_RECORDING:
            self._ordinary += 1
            return self._on_side_stream(train, valid)
        if self._recorded is None:
            self._inputs = tuple(tensor.clone() for tensor in (*train, *valid))
            images, labels, valid_images, valid_labels = self._inputs
            step = self.step  # a reference to `self` would be a cycle
            try:
                self._recorded = self.record(lambda: step((images, labels), (valid_images, valid_labels)))
            except RuntimeError as error:
                self.usable = False
                reason = str(error).strip().split("\n")[0]
                warnings.warn(f"the search step does not run as a CUDA graph ({reason}); it is slower", stacklevel=3)
                return self.step(train, valid)
        for recorded, new in zip(self._inputs, (*train, *valid), strict=True):
            recorded.copy_(new)
        return self._recorded()

    def _on_side_stream(self, train: Batch, valid: Batch) -> Tensor:
        """The step on the stream of recordings, to which its buffers then belong."""
        if train[0].device.type != "cuda":
            return self.step(train, valid)
        stream = _side_stream(train[0].device.index)
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            loss = self.step(train, valid)
        torch.cuda.current_stream().wait_stream(stream)
        return loss
