"""A search step replayed as one CUDA graph: at batch 64 a plain step waits for thousands of kernel launches.

A step can be replayed where it is the same computation each time. So it must draw nothing and look at nothing on the
device, batches have one size, and the learning rate holds for an epoch: each epoch is recorded anew, after steps of the
ordinary kind in which optimizers make their buffers and libraries choose their kernels.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from nas.training.device import current

Batch = tuple[Tensor, Tensor]
Step = Callable[[Batch, Batch], Tensor]
Recorder = Callable[[Callable[[], Tensor]], Callable[[], Tensor]]
ORDINARY = 2
"""Steps of an epoch before it is recorded."""


def cuda_graph(step: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """Record a step without running it; the function that runs it, on the same memory and with the same outcome tensor.

    The step's device is CUDA's current one, here and where the function is called.

    Raises:
        RuntimeError: something in it cannot be recorded.
    """
    graph = torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    with torch.cuda.graph(graph):
        outcome = step()

    def replay() -> Tensor:
        graph.replay()
        return outcome

    return replay


class Replayed:
    """(train, valid) -> loss, as the step itself; the loss is overwritten by the next one.

    Args:
        step: what is done with a training and a validation batch.
        size: images of a whole batch; others are done in the ordinary way.
        record: makes a replay of a step.
    """

    def __init__(self, step: Step, size: int, record: Recorder = cuda_graph) -> None:
        self.step = step
        self.size = size
        self.record = record
        self.usable = True
        self.start_epoch()

    def start_epoch(self) -> None:
        """Forget the recorded step: its learning rate is that of the epoch before."""
        self._replay: Callable[[], Tensor] | None = None
        self._ordinary = 0

    def __call__(self, train: Batch, valid: Batch) -> Tensor:
        with current(train[0].device):  # a graph is recorded on the current device, whatever its tensors lie on
            return self._run(train, valid)

    def _run(self, train: Batch, valid: Batch) -> Tensor:
        if not self.usable or not len(train[1]) == len(valid[1]) == self.size:
            return self.step(train, valid)
        if self._ordinary < ORDINARY:
            self._ordinary += 1
            return self._beside(train, valid)
        if self._replay is None:
            self._inputs = tuple(tensor.clone() for tensor in (*train, *valid))
            images, labels, valid_images, valid_labels = self._inputs
            step = self.step  # not `self`, which holds what is recorded
            try:
                self._replay = self.record(lambda: step((images, labels), (valid_images, valid_labels)))
            except RuntimeError as error:
                self.usable = False
                reason = str(error).strip().split("\n")[0]
                warnings.warn(f"the search step is not replayed as a CUDA graph ({reason}); it is slower", stacklevel=3)
                return self.step(train, valid)
        for kept, new in zip(self._inputs, (*train, *valid), strict=True):
            kept.copy_(new)
        return self._replay()

    def _beside(self, train: Batch, valid: Batch) -> Tensor:
        """The step in a stream of its own, where what it leaves for the recorded one belongs to no other stream."""
        if train[0].device.type != "cuda":
            return self.step(train, valid)
        stream = torch.cuda.Stream(train[0].device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            loss = self.step(train, valid)
        torch.cuda.current_stream().wait_stream(stream)
        return loss
