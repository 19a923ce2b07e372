"""What a run was made with: versions and machine."""

from __future__ import annotations

import platform
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def environment() -> dict[str, str]:
    """Versions of what decides the numbers, and the machine; kept with every run."""
    found = {"python": platform.python_version(), "machine": f"{platform.system()} {platform.machine()}", **_versions()}
    torch = sys.modules.get("torch")  # a search without networks does not load it
    if torch is not None and torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        found["gpu"] = ", ".join(dict.fromkeys(names))  # which of them a run takes is not known here
    return found


def processor() -> str:
    """The name of the CPU, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


@cache
def _versions() -> dict[str, str]:
    found = {}
    for package in ("cellnas", "torch", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    root = Path(__file__).resolve().parent.parent
    if (root / ".git").exists():
        try:
            words = ["git", "-C", str(root), "rev-parse", "--short", "HEAD"]
            found["commit"] = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            pass  # a checkout without git, or without a commit yet
    return found
