"""The verdict on signal with the labels as they are, and with permuted ones, on CIFAR-10 and digits.

    NAS_DATA=… python experiments/fit/is_there_signal.py

Each of 20 tries draws its pictures anew. Permuted labels have no signal: the verdict should be `none`. The labels as
they are have one. Writes is_there_signal.csv beside this file.
"""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from nas.backbones import make_backbone
from nas.data import Cifar10, DataSet, Digits
from nas.inspection import Features, Subject, measure_signal
from nas.inspection.simple_features import simple_features
from nas.pictures.facts import PictureFacts

TRIES, SIDE, POOL = 20, 96, 140
"""Tries of each row, side in pixels of the network, and pictures of each class that tries draw from."""
SIZES = (10, 20, 100)
"""Pictures of each class; the last size only with features of the network, and a quarter of the tries."""
OUT = Path(__file__).with_suffix(".csv")
COLUMNS = ("set", "each", "features", "labels", "tries", "yes", "weak", "none", "accuracy", "deviations", "seconds")


class Pool:
    """Pictures of a data set with their features, which tries draw from."""

    def __init__(self, data: DataSet) -> None:
        images = data.read_train()
        labels = images.labels.numpy()
        chosen = np.concatenate([np.flatnonzero(labels == label)[:POOL] for label in range(10)])
        self.name, self.labels = data.name, labels[chosen]
        pixels = images.pixels[torch.from_numpy(chosen)]
        self.simple = simple_features(pixels.numpy())
        self.network = make_backbone("efficientnet_lite0").extract(pixels, "cpu", SIDE)
        self.pixels = pixels.numpy()

    def drawn(self, each: int, rng: np.random.Generator, permuted: bool, network: bool) -> tuple[Subject, Features]:
        """A few pictures of each class as a subject, and their features."""
        members = np.concatenate([rng.permutation(np.flatnonzero(self.labels == label))[:each] for label in range(10)])
        rng.shuffle(members)
        labels, count = self.labels[members], len(members)
        subject = Subject(
            names=tuple(map(str, members)),
            labels=rng.permutation(labels) if permuted else labels,
            class_names=tuple(map(str, range(10))),
            parts=np.full(count, ""),
            stated=np.full(count, ""),
            facts=tuple(PictureFacts(None, digest=str(member)) for member in members),
            pixels=self.pixels,
            rows=members,
            groups=(None,) * count,
            total=count,
        )
        of_network = self.network[members] if network else None
        source = "efficientnet_lite0" if network else "simple"
        return subject, Features(np.arange(count), self.simple[members], of_network, source, SIDE, 0.0)


def main() -> None:
    rows: list[tuple[object, ...]] = []

    def add(row: tuple[object, ...]) -> None:
        rows.append(row)
        print("  ".join(f"{cell!s:18}" for cell in row), flush=True)

    add(COLUMNS)
    for pool in (Pool(Digits()), Pool(Cifar10())):
        for network in (True, False):
            for each in SIZES:
                last = each == SIZES[-1]
                for permuted in (False, True) if network or not last else ():
                    results = [
                        measure_signal(*pool.drawn(each, np.random.default_rng(seed), permuted, network), seed)
                        for seed in range(TRIES // 4 if last else TRIES)
                    ]
                    signals = [one for one in results if one is not None]
                    verdicts = Counter(one.verdict for one in signals)
                    add(
                        (
                            pool.name,
                            each,
                            "network" if network else "simple",
                            "permuted" if permuted else "as they are",
                            len(signals),
                            *(verdicts[name] for name in ("yes", "weak", "none")),
                            f"{np.mean([one.accuracy for one in signals]):.3f}",
                            f"{min(one.deviations for one in signals):.1f} to "
                            f"{max(one.deviations for one in signals):.1f}",
                            f"{np.mean([one.seconds for one in signals]):.1f}",
                        )
                    )
    with OUT.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


if __name__ == "__main__":
    main()
