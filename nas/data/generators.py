"""The global random generators of Python and NumPy, which a user's parts may draw from without naming one."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np


def state() -> dict[str, Any]:
    """The states of both generators as plain values that any checkpoint can hold; equal for equal generators."""
    of_numpy = np.random.get_state(legacy=False)
    assert isinstance(of_numpy, dict)
    inner = {"key": of_numpy["state"]["key"].tolist(), "pos": int(of_numpy["state"]["pos"])}
    return {"python": random.getstate(), "numpy": {**of_numpy, "state": inner}}


def restore(before: dict[str, Any]) -> None:
    """Set both generators to a state."""
    random.setstate(before["python"])
    of_numpy = before["numpy"]
    np.random.set_state({**of_numpy, "state": {**of_numpy["state"], "key": np.array(of_numpy["state"]["key"])}})


def seed(value: int) -> None:
    """Seed both generators."""
    random.seed(value)
    np.random.seed(value % 2**32)


@contextmanager
def restored() -> Iterator[None]:
    """Restore both generators afterwards, so that draws inside do not affect later ones."""
    before = state()
    try:
        yield
    finally:
        restore(before)
