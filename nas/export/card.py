"""`model.json`, which programs read, and `MODEL_CARD.md`, which people do."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from nas.core import uncounted
from nas.export import folder as exported
from nas.export.check import CheckResult
from nas.export.model import Model
from nas.formatting import milliseconds, plural, short_number
from nas.provenance import environment, processor
from nas.store.base import Retraining
from nas.training import count

CARD = "MODEL_CARD.md"


def about(
    model: Model,
    original: CheckResult,
    forms: Mapping[str, CheckResult],
    repeats: Sequence[Retraining],
) -> dict[str, Any]:
    """What `model.json` holds.

    Args:
        repeats: retrainings of the same architecture with the same recipe and other seeds, its own among them.
    """
    name, settings = model.data
    counts = count.architecture(model.network, model.task)
    return {
        "cellnas_model": exported.VERSION,
        "arch": model.text,
        "canonical": model.space.canonical(model.architecture),
        "space": {"name": model.space_name, "settings": dict(model.space_settings)},
        "network": dict(model.sizes),
        "task": asdict(model.task),
        "classes": list(model.class_names),
        "preprocessing": {"scale": 255, "mean": list(model.images.mean), "std": list(model.images.std)},
        "data": {
            "name": name,
            "settings": dict(settings),
            "split": model.split,
            "mirror": bool(model.images.mirror),
        },
        "trained": None if model.retraining is None else _trained(model.retraining, repeats),
        "parameters": counts["parameters"],
        "flops": counts["flops"],
        "uncounted": uncounted(counts),
        "images": len(model.images),
        "original": {"accuracy": original.accuracy, "latency_ms": dict(original.latency)},
        "formats": {form: _form(checked) for form, checked in forms.items()},
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "environment": environment() | ({"onnxruntime": version("onnxruntime")} if "onnx" in forms else {}),
        "commands": dict(model.commands),
    }


def _trained(retraining: Retraining, repeats: Sequence[Retraining]) -> dict[str, Any]:
    training = retraining.training
    tests = [repeat.metrics["test_accuracy"] for repeat in repeats]
    spread = statistics.stdev(tests) if len(tests) > 1 else None
    return {
        "seed": retraining.seed,
        "test_accuracy": retraining.metrics["test_accuracy"],
        "over_seeds": {"mean": statistics.fmean(tests), "std": spread, "n": len(tests)},
        "recipe": dict(training.recipe),
        "split": training.split,
        "part": training.part,
        "tested": training.tested,
        "seconds": retraining.seconds,
    }


def _form(checked: CheckResult) -> dict[str, Any]:
    return {
        "files": list(checked.files),
        "max_difference": checked.difference,
        "tolerance": checked.tolerance,
        "accuracy": checked.accuracy,
        "latency_ms": dict(checked.latency),
    }


def write(folder: Path, facts: Mapping[str, Any], pictures: Sequence[str]) -> None:
    """Write both files."""
    (folder / exported.NAME).write_text(json.dumps(facts, indent=2) + "\n")
    (folder / CARD).write_text(card(facts, pictures))


def card(facts: Mapping[str, Any], pictures: Sequence[str]) -> str:
    """`model.json` as a page.

    Args:
        pictures: file names of PNGs beside it.
    """
    task, given, data = facts["task"], facts["preprocessing"], facts["data"]
    size = f"{task['channels']}×{task['height']}×{task['width']}"
    sizes = {**facts["space"]["settings"], **facts["network"]}
    lines = [f"# {_headline(facts)}", "", f"`{facts['arch']}`", ""]
    lines += [f"![{name.removesuffix('.png')}]({name})\n" for name in pictures]
    lines += [
        "| | |",
        "|---|---|",
        f"| search space | {': '.join(filter(None, (facts['space']['name'], _listed(sizes))))} |",
        f"| parameters | {short_number(facts['parameters'])} ({facts['parameters']:,}) |",
        f"| FLOPs (multiply-accumulates) | {short_number(facts['flops'])}{_missing(facts)} |",
        f"| images | {size}; pixel values 0-255 are divided by 255, less the mean ({_numbers(given['mean'])}), divided "
        f"by the standard deviation ({_numbers(given['std'])}); `nas predict` turns photos by their EXIF "
        "orientation, shows transparent pixels on `background=white`, averages files that are a whole number of times "
        "as large, and resizes others bilinearly |",
        f"| classes | {', '.join(facts['classes'])} |",
        f"| data | {data['name']}, split `{data['split']}` |",
        *_training(facts["trained"], mirror=data["mirror"]),
        f"| made with | {', '.join(f'{name} {value}' for name, value in facts['environment'].items())} |",
        "",
        "## The files, checked",
        "",
        f"Each was loaded in a fresh process and compared with the network on {facts['images']} validation images, in "
        f"batches of 1, 2, 16 and 64. {_caveat(facts)}"
        f"Milliseconds on {facts['processor']} with {plural(facts['threads'], 'thread')}, median.",
        "",
        "| format | files | largest difference of a logit | allowed | accuracy on these | 1 image | 64 images |",
        "|---|---|---|---|---|---|---|",
        f"| the network itself | | | | {facts['original']['accuracy']:.4f} | {_latencies(facts['original'])} |",
    ]
    lines += [
        f"| {name} | {', '.join(f'`{file}`' for file in form['files'])} | {form['max_difference']:.1e} | "
        f"{form['tolerance']:.1e} | {form['accuracy']:.4f} | {_latencies(form)} |"
        for name, form in facts["formats"].items()
    ]
    lines += ["", *_usage(facts), "## Made by", "", "```bash", *facts["commands"].values(), "```", ""]
    return "\n".join(lines)


def _missing(facts: Mapping[str, Any]) -> str:
    return f", without the work of {', '.join(facts['uncounted'])} (no formula)" if facts["uncounted"] else ""


def _headline(facts: Mapping[str, Any]) -> str:
    trained = facts["trained"]
    if trained is None:
        return f"A cell of {facts['space']['name']} for {facts['data']['name']}: untrained, with random weights"
    over = trained["over_seeds"]
    spread = f" ± {over['std']:.4f} (n = {over['n']})" if over["n"] > 1 else " (n = 1)"
    return f"A cell of {facts['space']['name']}: test accuracy {over['mean']:.4f}{spread} on {facts['data']['name']}"


def seen(protocol: Mapping[str, Any], split: str) -> bool:
    """Whether a retraining may have trained on validation images of a split."""
    return bool(protocol["part"] != "train" or protocol["split"] != split)


def _caveat(facts: Mapping[str, Any]) -> str:
    """A remark where an accuracy flatters."""
    if facts["trained"] is None or not seen(facts["trained"], facts["data"]["split"]):
        return ""
    return "The network may have been trained on these images: only the test accuracy tells how good it is. "


def _training(trained: Mapping[str, Any] | None, *, mirror: bool) -> list[str]:
    """How it was trained.

    Args:
        mirror: whether the data set lets images be mirrored; without it the recipe's `flip` does nothing.
    """
    if trained is None:
        return ["| trained | not at all: its weights are random |"]
    recipe = trained["recipe"]
    silent = {"network"} if mirror else {"network", "flip"}
    told = {key: value for key, value in recipe.items() if key not in silent and value is not None}
    best = ", the best epoch by validation" if trained["tested"] == "best" else ""
    images = "training" if trained["part"] == "train" else "training and validation"
    return [
        f"| test accuracy | {trained['test_accuracy']:.4f} of these weights{best}, measured once "
        f"(seed {trained['seed']}) |",
        f"| trained | {trained['seconds']:,.0f} s on {images} images: {_listed(told)} |",
    ]


def _usage(facts: Mapping[str, Any]) -> list[str]:
    lines = ["## Use", "", "```bash", "nas predict model=. images=FOLDER", "```", ""]
    if "state" in facts["formats"]:
        lines += [
            "A space of your own needs its folder too: `nas --config-dir FOLDER predict …`, called from where its "
            "module lies. ONNX needs none where `state` is not beside it.",
            "",
        ]
    if "python" in facts["formats"]:
        lines += [
            "```python",
            "from network import CLASSES, Network, prepared",
            "",
            "logits = Network()(prepared(pixels))  # uint8 pixels (B, channels, height, width)",
            "```",
            "",
        ]
    return lines


def _latencies(form: Mapping[str, Any]) -> str:
    timed = form["latency_ms"]
    return " | ".join(milliseconds(timed.get(size)) for size in ("1", "64"))


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _listed(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in settings.items())
