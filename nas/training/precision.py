"""How products of float32 numbers are rounded.

torch has a setting for each library and operation, one for each library, and one for all of them, and the most
specific one that is set wins: https://docs.pytorch.org/docs/stable/notes/numerical_accuracy.html. An older interface
(`allow_tf32`, `set_float32_matmul_precision`) writes some of the same settings and raises an error if a program has
used the newer one, so only the newer one is used here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

FULL, SHORT = "ieee", "tf32"


@contextmanager
def products(*, tf32: bool) -> Iterator[None]:
    """Compute float32 products in float32, and restore every setting afterwards.

    Args:
        tf32: Whether CUDA may round the factors to TF32. A CPU never does.
    """
    everywhere, cudnn = _backend(torch.backends), _backend(torch.backends.cudnn)
    general = everywhere.fp32_precision
    library = _own(cudnn)
    wanted = SHORT if tf32 else FULL
    everywhere.fp32_precision, cudnn.fp32_precision = FULL, wanted
    # What does not follow now was set for this very operation. The others stay as they are, since torch's first value
    # (TF32 for convolutions unless something more general is set) cannot be written back.
    set_alone = [
        (operation, operation.fp32_precision, value)
        for value, operations in ((wanted, _cuda_operations()), (FULL, _cpu_operations()))
        for operation in operations
        if operation.fp32_precision != value
    ]
    try:
        for operation, _, value in set_alone:
            operation.fp32_precision = value
        yield
    finally:
        for operation, before, _ in set_alone:
            operation.fp32_precision = before
        everywhere.fp32_precision, cudnn.fp32_precision = general, library


def _own(backend: Any) -> str:
    """Setting of a library itself; `none` if it follows the setting for all."""
    everywhere = _backend(torch.backends)
    before = everywhere.fp32_precision
    read = []
    for value in (FULL, SHORT):
        everywhere.fp32_precision = value
        read.append(backend.fp32_precision)
    everywhere.fp32_precision = before
    return str(read[0]) if read[0] == read[1] else "none"


def _cuda_operations() -> tuple[Any, ...]:
    cudnn = _backend(torch.backends.cudnn)
    return torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn


def _cpu_operations() -> tuple[Any, ...]:
    mkldnn = _backend(torch.backends.mkldnn)
    return mkldnn.matmul, mkldnn.conv, mkldnn.rnn


def _backend(module: Any) -> Any:
    """A module whose settings are created at run time, so that type checkers miss them."""
    return module
