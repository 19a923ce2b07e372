"""Time to export a network in every available format, each checked in a fresh process.

    python scripts/bench/export.py

Rows `export/nasbench201` (16 channels, 5 cells a stage) and `export/darts` (DARTS_V2, 36 channels, 20 cells),
untrained, on validation images of CIFAR-10 or, without it, of the digits. The yardstick is the time limit.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rows import Row

CELL = "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|"
NETWORKS = {
    "nasbench201": (60.0, f"arch={CELL}", "space.channels=16", "space.cells=5"),
    "darts": (240.0, "arch=DARTS_V2", "space=darts", "space.channels=36", "space.cells=20"),
}
FORMATS = ["genotype", "python", "onnx", "torch_export", "state"]
ONNX = ("onnx", "onnxscript", "onnxruntime")


def main() -> None:
    has_cifar10 = (Path(os.environ.get("NAS_DATA", "")) / "cifar-10-batches-py").is_dir()
    data = "cifar10" if has_cifar10 else "digits"
    missing = [module for module in ONNX if importlib.util.find_spec(module) is None]
    formats = [name for name in FORMATS if not (missing and name == "onnx")]
    forms = f"all forms but onnx ({missing[0]} is not installed)" if missing else "all forms"
    for name, (limit, *arguments) in NETWORKS.items():
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "nas",
                    "export",
                    *arguments,
                    f"data={data}",
                    f"format=[{','.join(formats)}]",
                    "out=model",
                ],
                cwd=folder,
                check=True,
                stdout=sys.stderr,
            )
            seconds = time.perf_counter() - started
        Row(f"export/{name}", seconds, limit, "s", 1.0, more_is_better=False, note=f"{forms}, images of {data}").show()


if __name__ == "__main__":
    main()
