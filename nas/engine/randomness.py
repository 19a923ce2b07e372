"""All random numbers of a search: every trial has its own generator and training seed.

Numbers come from a counter-based generator (Philox: Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC
2011), keyed by the run's seed and set to the trial's number. So trial n draws the same numbers whether or not the
trials before it were proposed in this process, and a resumed search makes the proposals of an uninterrupted one.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.random import Generator, Philox, SeedSequence

from nas.validation import whole_number


class TrialRandom:
    """Random numbers of one run.

    Args:
        seed: Seed of the run, a whole number from 0 to 2^63 - 1.
    """

    def __init__(self, seed: int) -> None:
        whole_number("seed", seed, least=0)
        self._key = SeedSequence(seed).generate_state(2, np.uint64)
        self._counter = np.zeros(4, np.uint64)
        self._bits = Philox(key=self._key)
        self._generator = Generator(self._bits)
        self._state: Any = {
            "bit_generator": "Philox",
            "state": {"counter": self._counter, "key": self._key},
            "buffer": np.zeros(4, np.uint64),
            "buffer_pos": 4,  # nothing buffered: the next draw starts at the counter
            "has_uint32": 0,
            "uinteger": 0,
        }

    def trial(self, number: int) -> Generator:
        """The generator of a trial, at its start. It is one object that each call resets: do not store it."""
        return self._at(number + 1)

    def start(self) -> Generator:
        """The generator for the numbers that a strategy draws once, before its first trial."""
        return self._at(0)

    def _at(self, position: int) -> Generator:
        self._counter[3] = position
        self._bits.state = self._state
        return self._generator


def training_seed(seed: int, canonical: str, repeat: int) -> int:
    """Seed of a training, 0 to 2^32 - 1. Equal architectures of a run train equally; repeats of one differ.

    Args:
        seed: Seed of the run.
        canonical: Key of the function class.
        repeat: Number of earlier trainings of this class in the run.
    """
    digest = hashlib.blake2b(f"{seed} {repeat} {canonical}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big")
