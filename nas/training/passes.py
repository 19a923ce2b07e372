"""Forward and backward passes of a network on a few images, as a training makes them, and the result that each must
return."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.core import Task
from nas.data.images import Images
from nas.errors import UserError, located, outside_libraries, text_of
from nas.space.network import auxiliary_head
from nas.training import logits as returned
from nas.training.augment import plain_batch
from nas.training.findings import listed
from nas.training.fit import TrainingFailed, is_out_of_memory
from nas.training.memory_format import channels_last, contiguous
from nas.training.network_state import NetworkState, alike, equal
from nas.training.recipe import Recipe
from nas.training.seeding import seed_all
from nas.training.weight_files import copied

BATCH = 4
"""Number of images of the check: few, since each costs time, and more than two, so that no other size of a shape equals
it."""


class BadNetwork(TrainingFailed):
    """A network that cannot be trained as it is."""

    def __init__(self, message: str) -> None:
        super().__init__("bad_network", message)


class Passes:
    """The passes of a check.

    Args:
        network: Network to check; it changes as in a training.
        forward: Images to logits: the network itself, or a supernet at some probabilities.
        name: Its name in messages, `network` or `supernet`.
        channels_last: Memory format of the images.
    """

    def __init__(
        self,
        network: nn.Module,
        forward: Callable[[Tensor], Any],
        images: Images,
        task: Task,
        recipe: Recipe,
        *,
        name: str,
        channels_last: bool,
    ) -> None:
        self.network, self.forward, self.name = network, forward, name
        self.images, self.task, self.recipe = images, task, recipe
        self.channels_last = channels_last
        most = min(BATCH, len(images), recipe.batch_size)
        self.size = most if most != task.classes or most <= 2 else most - 1  # a transposed output is another shape
        self.trainable = {name: value for name, value in network.named_parameters() if value.requires_grad}

    def _run(self, size: int) -> Any:
        images = plain_batch(self.images, 0, size)
        if self.network.training or not self.channels_last:  # a plain batch of one channel is contiguous
            images = (channels_last if self.channels_last else contiguous)(images)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16"):
            return self.forward(images)

    def in_training(self, *, backward: bool = False) -> None:
        """Forward and, with `backward`, backward in training mode.

        Raises:
            BadNetwork, TrainingFailed: As `check_network`.
        """
        self.network.train()
        with self.failing(f"in training mode on {self.size} images"):
            output = self._run(self.size)
        head = self.name == "network" and auxiliary_head(self.network) is not None
        logits = self._logits(output, self.size, "in training mode", head=head)
        for each in logits:
            self._check_finite(each, "for the first training images")
        self._check_unnormalised(logits[0], "in training mode")
        if not backward:
            return
        if not logits[0].requires_grad:
            raise BadNetwork(
                f"the logits of the {self.name} depend on none of its parameters in training mode; forward must not "
                "run under torch.no_grad, nor detach what it returns"
            )
        labels = torch.arange(self.size, device=logits[0].device) % self.task.classes
        with self.failing(f"in its backward pass on {self.size} images"):
            losses = [F.cross_entropy(each.float(), labels) for each in logits]
            torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def in_evaluation(self, size: int) -> Tensor:
        """Logits of the first images in evaluation mode.

        Raises:
            BadNetwork, TrainingFailed: As `check_network`.
        """
        self.network.eval()
        with self.failing(f"in evaluation mode on {'a batch of one image' if size == 1 else f'{size} images'}"):
            output = self._run(size)
        where = "in evaluation mode" + (" for a batch of one image" if size == 1 else "")
        logits = self._logits(output, size, where, head=False)[0]
        self._check_finite(logits, where)
        if size == self.size:
            self._check_unnormalised(logits, where)
        return logits

    def without_gradient(self, batches: int) -> tuple[str, ...]:
        """Names of parameters that still have no gradient after at most this many further batches."""

        def missing() -> tuple[str, ...]:
            return tuple(name for name, value in self.trainable.items() if value.grad is None)

        for _ in range(batches):
            if not missing():
                break
            self.in_training(backward=True)
        return missing()

    def buffers(self) -> dict[str, Tensor]:
        """Copies of the tensors that the state_dict holds beside parameters."""
        weights = {name for name, _ in self.network.named_parameters(remove_duplicate=False)}
        state = {name: value for name, value in self.network.state_dict().items() if name not in weights}
        return {name: value.clone() for name, value in state.items() if isinstance(value, Tensor)}

    def check_still(self, before: Mapping[str, Tensor]) -> None:
        """Refuse state that changes in evaluation mode and is used there: a score would depend on earlier ones.

        Args:
            before: Buffers before some forwards in evaluation mode.

        Raises:
            BadNetwork: There is such state.
        """
        now = self.buffers()
        changed = [name for name in before if name not in now or not equal(before[name], now[name])]
        if not changed:
            return
        logits = self._seeded()
        self.network.load_state_dict(dict(before), strict=False)
        if not torch.equal(logits, self._seeded()):
            raise BadNetwork(
                f"{listed(changed)} changes in evaluation mode and the logits depend on it, so its score differs each "
                "time; change it only while self.training"
            )

    def lost(self, held: NetworkState, *, resumed: bool = False) -> tuple[str, ...]:
        """Names of state that changed in a training step, that the logits depend on, and that no state_dict has.

        Args:
            held: State of the network before the step.
            resumed: Whether logits in training mode count too, as for a supernet that resumes from a checkpoint.
        """
        changed = held.changed()
        if not changed:
            return ()
        state = copied(self.network)
        logits = [self._seeded(), *([self._seeded(training=True)] if resumed else [])]
        held.restore()
        try:
            self.network.load_state_dict(state)
            again = [self._seeded(), *([self._seeded(training=True)] if resumed else [])]
        except RuntimeError as error:
            raise BadNetwork(f"the {self.name} cannot load its own state_dict: {located(error)}") from None
        return () if all(map(alike, logits, again)) else tuple(changed)

    @torch.no_grad()
    def _seeded(self, *, training: bool = False) -> Tensor:
        """Logits that are the same each time, even if the network draws random numbers."""
        seed_all(0)
        if not training:
            return self.in_evaluation(self.size)
        self.network.train()
        with self.failing("in training mode"):
            logits: Tensor = self._run(self.size)
        return logits

    @contextmanager
    def failing(self, when: str) -> Iterator[None]:
        """Raise `BadNetwork` with mode, batch and line if a pass raises an exception."""
        try:
            yield
        except (UserError, TrainingFailed):
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise
            task, kind = self.task, torch.get_default_dtype()
            size = f"{task.channels}x{task.height}x{task.width}"
            default = f"torch.set_default_dtype(torch.{str(kind).removeprefix('torch.')})"
            hint = "" if kind == torch.float32 else f"; an imported module or build has set {default}"
            raise BadNetwork(f"the {self.name} fails {when} of {size}: {self._located(error)}{hint}") from error

    def _located(self, error: Exception) -> str:
        """The exception with the user's line, or with the module that failed if one of torch's own layers did."""
        frames, module = outside_libraries(error), _innermost_module(error, self.network)
        if module and frames and frames[-1].filename == __file__:
            return f"{type(error).__name__}: {text_of(error)} (in {module})"
        return located(error)

    def _logits(self, output: Any, size: int, where: str, *, head: bool) -> tuple[Tensor, ...]:
        """The logits in an output, and with a head those of the auxiliary one.

        Raises:
            BadNetwork: The output is something else.
        """
        sentence = returned.mistake(output, size, self.task, where, head=head)
        if sentence:
            raise BadNetwork(f"the {self.name} {sentence}")
        return returned.parts(output, head=head)

    def _check_finite(self, logits: Tensor, when: str) -> None:
        kind = returned.not_finite(logits)
        if kind:
            raise TrainingFailed(
                "not_finite",
                f"the logits of the {self.name} are {kind} {when}, before the first step; look at its forward and at "
                "its initial weights",
            )

    @torch.no_grad()
    def _check_unnormalised(self, logits: Tensor, where: str) -> None:
        """Refuse probabilities: rows that sum to 1, and do so with other weights too.

        Args:
            logits: Logits of `size` images, in the network's present mode.

        Raises:
            BadNetwork: They are probabilities.
        """
        if not returned.are_probabilities(logits):
            return
        # equal logits of 1 / classes, such as those of a new head, differ with other weights
        held = NetworkState(self.network)
        try:
            for value in self.trainable.values():
                value.data.add_(torch.randn_like(value), alpha=0.01)
            output = self._run(self.size)
        finally:
            held.restore()
        if returned.are_probabilities(output[0] if isinstance(output, tuple) else output):
            raise BadNetwork(
                f"the {self.name} returned probabilities {where} (each row sums to 1); expected logits: leave the "
                "softmax out of forward, since the loss applies it"
            )


def _innermost_module(error: Exception, network: nn.Module) -> str:
    """Path and class of the last module that was called before an exception; empty if none was."""
    names = {id(module): f"{name}, a {type(module).__name__}" for name, module in network.named_modules() if name}
    innermost, trace = "", error.__traceback__
    while trace is not None:
        innermost = names.get(id(trace.tb_frame.f_locals.get("self")), innermost)
        trace = trace.tb_next
    return innermost
