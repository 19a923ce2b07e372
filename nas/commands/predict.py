"""Label images with an exported model.

model= is a folder of `nas export`; nothing in it is run, so it may come from elsewhere.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

from nas.core import UsageError, one_of, whole_number
from nas.export.folder import read
from nas.output import print_json, print_table
from nas.prediction import images_of, predict
from nas.streams import results

if TYPE_CHECKING:
    from nas.settings import Settings


def main(settings: Settings) -> int:
    one_of("format", settings.get("format"), ("table", "csv", "json"))
    whole_number("top", settings.get("top"))
    if settings.get("format") != "table" and any(word.startswith("top=") for word in settings.arguments):
        raise UsageError(f"top= has no effect on format={settings.get('format')}, which has all classes; leave it out")
    if not settings.get("model"):
        raise UsageError("model=null; expected a folder of nas export")
    if not settings.get("images"):
        raise UsageError("images=[]; expected an image, a folder of images, or a list of them")
    folder = read(Path(settings.get("model")).expanduser())
    places = settings.get("images")
    if Path(",".join(places)).expanduser().exists():  # a name with a comma is one name
        places = [",".join(places)]
    files = [file for place in places for file in images_of(Path(place).expanduser())]
    found = list(predict(folder, files, settings.config_dir))
    classes = folder.about["classes"]
    if settings.get("format") == "json":
        print_json(
            [
                {
                    "file": one.file,
                    "label": one.label,
                    "probabilities": dict(zip(classes, one.probabilities, strict=True)),
                }
                for one in found
            ]
        )
        return 0
    if settings.get("format") == "csv":
        writer = csv.writer(results(), lineterminator="\n")
        writer.writerow(["file", "label", *classes])
        writer.writerows([one.file, one.label, *(f"{p:.6g}" for p in one.probabilities)] for one in found)
        return 0
    shown = min(settings.get("top"), len(classes))
    head = ["file", "label", "probability", *(f"{place}." for place in range(2, shown + 1))]
    rows = []
    for one in found:
        ranked = sorted(zip(one.probabilities, classes, strict=True), reverse=True)[:shown]
        rows.append([one.file, one.label, f"{ranked[0][0]:.4f}", *(f"{name} {p:.4f}" for p, name in ranked[1:])])
    print_table(f"{folder.about['arch']}", head, rows, text=("file", "label", *head[3:]))
    return 0
