"""Make a table for `table=nasbench201` from the official NATS-Bench release (Dong et al., TPAMI 2021).

    pip install 'cellnas[nats]'
    python scripts/nats_to_table.py NATS-tss-v1_0-3ffb9-simple nb201_table.csv.gz

It needs the release's topology files on disk and the `nats_bench` package. It was written without access to the release
and tested on a stand-in with the interface of nats_bench 1.8, so compare a few rows with the release before relying on
it. Put the table below `NAS_DATA` as nasbench201/nb201_table.csv.gz.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

COLUMNS = {
    "c10valid_valid_acc_12": ("cifar10-valid", "12", "valid-accuracy"),
    "c10_test_acc_12": ("cifar10", "12", "test-accuracy"),
    "c10valid_valid_acc_200": ("cifar10-valid", "200", "valid-accuracy"),
    "c10_test_acc_200": ("cifar10", "200", "test-accuracy"),
    "c100_valid_acc_200": ("cifar100", "200", "valid-accuracy"),
    "c100_test_acc_200": ("cifar100", "200", "test-accuracy"),
    "in16_valid_acc_200": ("ImageNet16-120", "200", "valid-accuracy"),
    "in16_test_acc_200": ("ImageNet16-120", "200", "test-accuracy"),
    "c10valid_train_time_200_s": ("cifar10-valid", "200", "train-all-time"),
}
"""Column -> data set, epochs and name in `get_more_info`; accuracies in percent, means over the seeds; seconds."""


def rows(api: Any) -> Iterator[list[str]]:
    """One row per architecture, in the order of the release.

    Raises:
        ValueError: The release lacks a value.
    """
    for index in range(len(api)):
        row = [api.arch(index)]
        for data, epochs, name in COLUMNS.values():
            value = api.get_more_info(index, data, hp=epochs, is_random=False).get(name)
            if value is None:
                raise ValueError(f"the release has no {name} of architecture {index} on {data} after {epochs} epochs")
            row.append(f"{float(value):.6f}")
        yield row


def write(api: Any, out: Path) -> int:
    """Write the table atomically; returns its number of rows."""
    partial = out.with_name(f".{out.name}.partial")
    count = 0
    try:
        with gzip.open(partial, "wt", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["arch_str", *COLUMNS])
            for row in rows(api):
                writer.writerow(row)
                count += 1
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
    return count


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("release", type=Path, help="folder or file of the release's topology search space")
    parser.add_argument("out", type=Path, help="table to write, .csv.gz")
    arguments = parser.parse_args()
    if not arguments.release.exists():
        parser.error(f"{arguments.release} does not exist")
    if arguments.out.exists() or not arguments.out.name.endswith(".csv.gz"):
        parser.error(f"OUT must be a new .csv.gz file, got {arguments.out}")
    try:
        from nats_bench import create
    except ImportError:
        parser.error("this needs the package nats_bench: pip install 'cellnas[nats]'")
    try:
        api = create(str(arguments.release), "tss", fast_mode=arguments.release.is_dir(), verbose=False)
        print(f"{arguments.out}: {write(api, arguments.out):,} architectures")
    except (ValueError, KeyError, OSError) as error:
        print(f"nats_to_table: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
