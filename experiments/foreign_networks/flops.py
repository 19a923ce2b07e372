"""Counts every classification model of torchvision and writes `flops.csv` beside this file.

The models are built on the meta device, untrained, each at the crop size of its weights.
"""

import csv
from pathlib import Path

import torch
from torchvision import models
from torchvision.models.regnet import BlockParams

from nas.core import Task
from nas.training import count


def main() -> None:
    widths = BlockParams.from_init_params

    def on_cpu(*args: object, **settings: object) -> BlockParams:
        with torch.device("cpu"):  # computed with tensors, of which the meta device has no values
            return widths(*args, **settings)

    BlockParams.from_init_params = on_cpu
    with Path(__file__).with_name("flops.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["model", "weights", "image", "counted_gflops", "published_gflops", "difference_percent"])
        for name in models.list_models(module=models):
            for weights in models.get_model_weights(name):
                size, published = weights.transforms().crop_size[0], weights.meta["_ops"]
                given = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
                given |= {"image_size": size} if name.startswith("vit") else {}
                with torch.device("meta"):
                    network = models.get_model(name, **given)
                found = count.work(network, Task(3, size, size, 1000))
                assert not found.uncounted
                counted = found.flops / 1e9
                difference = 100 * (counted / published - 1)
                rows.writerow([name, weights.name, size, f"{counted:.4f}", published, f"{difference:.2f}"])


if __name__ == "__main__":
    main()
