"""The logits (B, classes) that a network must return, and sentences about anything else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from nas.core import Task

LOGIT_DTYPES = (torch.float32, torch.float64, torch.bfloat16)
SUM_TOLERANCE = {torch.bfloat16: 5e-3}
"""Largest distance from 1 of the sum of a row of probabilities, by rounding; 1e-4 in single precision."""


def parts(output: Any, *, head: bool) -> tuple[Any, ...]:
    """The logits of an output, and with a head those of the auxiliary one."""
    return output if isinstance(output, tuple) and head else (output,)


def mistake(output: Any, size: int, task: Task, where: str, *, head: bool) -> str:
    """The fault of an output that is not logits, and its remedy; empty if it is correct.

    Args:
        size: Number of images in the batch.
        where: Mode and batch, for the message.
        head: Whether logits of an auxiliary head are expected too.
    """
    shape, outputs = (size, task.classes), parts(output, head=head)
    if len(outputs) != (2 if head else 1) or not all(
        isinstance(each, Tensor) and each.shape == shape for each in outputs
    ):
        expected = f"a pair of tensors {shape}" if head else f"a tensor {shape}"
        advice = _advice(output, size, task.classes, head=head)
        return f"returned {described(output)} {where}; expected {expected}: {advice}"
    for each in outputs:
        if each.dtype not in LOGIT_DTYPES:
            return f"returned {str(each.dtype).removeprefix('torch.')} logits {where}; expected float32"
    return ""


def not_finite(logits: Tensor) -> str:
    """`NaN` or `infinite`; empty if all of them are finite."""
    if bool(logits.isfinite().all()):
        return ""
    return "NaN" if bool(logits.isnan().any()) else "infinite"


def are_probabilities(logits: Tensor) -> bool:
    """Whether rows (B, classes) look like probabilities: at least 0, and each sums to 1; never for one class."""
    if logits.shape[1] < 2 or bool((logits < 0).any()):
        return False
    return bool(((logits.double().sum(1) - 1.0).abs() <= SUM_TOLERANCE.get(logits.dtype, 1e-4)).all())


def described(output: Any) -> str:
    if isinstance(output, Tensor):
        return f"a tensor {tuple(output.shape)}"
    if isinstance(output, tuple | list) and output and all(isinstance(each, Tensor) for each in output):
        shapes = ", ".join(str(tuple(each.shape)) for each in output)
        return f"a {type(output).__name__} of {len(output)} tensors {shapes}"
    if isinstance(output, Mapping):
        return f"a {type(output).__name__} with {', '.join(map(repr, output))}"
    if isinstance(output, tuple | list):
        return f"a {type(output).__name__} of {', '.join(described(each) for each in output) or 'nothing'}"
    return "None" if output is None else f"a {type(output).__name__}"


def _advice(output: Any, size: int, classes: int, *, head: bool) -> str:
    if not isinstance(output, Tensor):
        pair = isinstance(output, tuple) and [getattr(each, "shape", None) for each in output] == [(size, classes)] * 2
        more = (
            ", or derive from nas.space.SupportsAuxiliaryHead if the second tensor is that of an auxiliary head"
            if pair
            else ""
        )
        return "return the logits and those of the auxiliary head" if head else f"return only the logits{more}"
    if head:
        return "return the logits and those of the auxiliary head"
    if output.dim() == 2 and len(output) == size:
        return "build must take the number of classes from task.classes"
    if tuple(output.shape) == (classes,):
        return "squeeze() without a dimension removes that of the batch too; flatten(1) does not"
    if output.dim() > 2 and tuple(output.shape[:2]) == (size, classes):
        return "pool and flatten it"
    return "one row per image and one column per class"
