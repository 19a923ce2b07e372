"""The genotype file: an architecture as JSON, with everything needed to train it again.

It names its space and data set by their options in `configs/` and never by a class, so reading a foreign file never
runs its code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nas.errors import UsageError
from nas.files import atomic_folder

VERSION = 1
GENOTYPE = "genotype"
"""The name of the format; unlike the others it has no network."""
NAME = "genotype.json"


@dataclass(frozen=True)
class GenotypeFile:
    """An architecture and where it comes from.

    Args:
        space, space_settings: Option of the group `space`, and its settings.
        arch: Architecture in the space's notation.
        canonical: Text of its equivalence class.
        data, data_settings: Data set that it was found on; None if there was none.
        found: Run, trial, metrics, seed and protocol of the search.
    """

    space: str
    space_settings: Mapping[str, Any]
    arch: str
    canonical: str
    data: str | None = None
    data_settings: Mapping[str, Any] = field(default_factory=dict)
    found: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        tree = {
            "cellnas_genotype": VERSION,
            "space": {"name": self.space, "settings": dict(self.space_settings)},
            "arch": self.arch,
            "canonical": self.canonical,
            "data": {"name": self.data, "settings": dict(self.data_settings)},
            "found": dict(self.found),
        }
        return json.dumps(tree, indent=2, ensure_ascii=False) + "\n"


def read_genotype(path: Path) -> GenotypeFile:
    """Read a genotype file.

    Raises:
        UsageError: The file is missing or damaged, is not a genotype, or is of a newer version.
    """
    try:
        tree = json.loads(path.read_text())
    except OSError as error:
        raise UsageError(f"arch={path} cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"arch={path} is not a genotype file: not valid JSON ({error})") from None
    version = tree.get("cellnas_genotype") if isinstance(tree, dict) else None
    if not isinstance(version, int):
        raise UsageError(f"arch={path} is not a genotype file: it has no key cellnas_genotype")
    if version > VERSION:
        raise UsageError(f"arch={path} has version {version}, this cellnas reads up to {VERSION}; upgrade cellnas")
    try:
        space, data = tree["space"], tree.get("data") or {"name": None}
        genotype = GenotypeFile(
            space["name"],
            space.get("settings") or {},
            tree["arch"],
            tree.get("canonical", ""),
            data.get("name"),
            data.get("settings") or {},
            tree.get("found") or {},
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"arch={path} is a damaged genotype file: {type(error).__name__} {error}") from None
    texts = (genotype.space, genotype.arch, genotype.canonical, genotype.data or "")
    mappings = (genotype.space_settings, genotype.data_settings, genotype.found)
    if not all(isinstance(text, str) for text in texts) or not all(isinstance(tree, dict) for tree in mappings):
        raise UsageError(f"arch={path} is a damaged genotype file: names must be text, and settings mappings")
    return genotype


def write_genotype(genotype: GenotypeFile, folder: Path) -> Path:
    """Write `genotype.json` into a folder that is new, empty, or contains only the same file.

    Raises:
        UsageError: The folder contains something else, which is left unchanged.
        UserError: The file cannot be written.
    """
    with atomic_folder(folder) as workplace:
        (workplace / NAME).write_text(genotype.to_json())
    return folder / NAME
