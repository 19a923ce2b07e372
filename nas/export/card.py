"""`model.json` for programs, and `MODEL_CARD.md` for people."""

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
from nas.export.threshold import NONE_LABEL
from nas.formatting import milliseconds, plural, short_number
from nas.provenance import environment, processor
from nas.store.base import Retraining
from nas.store.protocol import RetrainingProtocol
from nas.training import count

CARD = "MODEL_CARD.md"


def about(
    model: Model,
    original: CheckResult,
    forms: Mapping[str, CheckResult],
    repeats: Sequence[Retraining],
) -> dict[str, Any]:
    """The content of `model.json`.

    Args:
        original: The network itself.
        forms: Format -> its check.
        repeats: Retrainings of the same architecture with the same recipe and any seed, its own included.
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
        **({} if model.threshold is None else {"threshold": model.threshold.to_json()}),
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
    """The text of `MODEL_CARD.md`.

    Args:
        facts: Content of `model.json`.
        pictures: Names of the PNG files beside it.
    """
    task, preprocessing, data = facts["task"], facts["preprocessing"], facts["data"]
    size = f"{task['channels']}×{task['height']}×{task['width']}"
    settings = {**facts["space"]["settings"], **facts["network"]}
    tuned = "; ".join(f"{name} {text}" for name, text in settings.pop("tune", {}).items())
    sizes = {name: value for name, value in settings.items() if value is not None}
    lines = [f"# {_headline(facts)}", "", f"`{facts['arch']}`", ""]
    lines += [f"![{name.removesuffix('.png')}]({name})\n" for name in pictures]
    lines += [
        "| | |",
        "|---|---|",
        f"| search space | {': '.join(filter(None, (facts['space']['name'], _listed(sizes))))} |",
        *([f"| tuned in the search | {tuned} |"] if tuned else []),
        f"| parameters | {short_number(facts['parameters'])} ({facts['parameters']:,}) |",
        f"| FLOPs (multiply-accumulates) | {short_number(facts['flops'])}{_missing(facts)} |",
        f"| input | {size}; pixel values 0-255 are divided by 255, then normalised with mean "
        f"({_numbers(preprocessing['mean'])}) and standard deviation ({_numbers(preprocessing['std'])}) |",
        "| image files | `nas predict` rotates an image to its EXIF orientation, puts transparent pixels on "
        f"`background={data['settings'].get('background') or 'white'}`, averages an image whose sides are an integer "
        "multiple of the input's, and resizes any other bilinearly |",
        f"| classes | {', '.join(facts['classes'])} |",
        f"| data | {data['name']}, split `{data['split']}` |",
        *_training(facts),
        *_threshold(facts),
        f"| made with | {', '.join(f'{name} {value}' for name, value in facts['environment'].items())} |",
        "",
        "## Files",
        "",
        f"Each format was loaded in a fresh process and compared with the network on {facts['images']} validation "
        f"images, in batches of 1, 2, 16 and 64. {_caveat(facts)}"
        f"Latency is the median in milliseconds on {facts['processor']} with {plural(facts['threads'], 'thread')}.",
        "",
        "| format | files | logit difference | tolerance | accuracy on these images | 1 image, ms | 64 images, ms |",
        "|---|---|---|---|---|---|---|",
        f"| the network itself | | | | {facts['original']['accuracy']:.4f} | {_latencies(facts['original'])} |",
    ]
    lines += [
        f"| {name} | {', '.join(f'`{file}`' for file in form['files'])} | {form['max_difference']:.1e} | "
        f"{form['tolerance']:.1e} | {form['accuracy']:.4f} | {_latencies(form)} |"
        for name, form in facts["formats"].items()
    ]
    lines += ["", *_usage(facts), "## Reproduce it", "", "```bash", *facts["commands"].values(), "```", ""]
    return "\n".join(lines)


def _missing(facts: Mapping[str, Any]) -> str:
    return f", not including {', '.join(facts['uncounted'])} (no formula)" if facts["uncounted"] else ""


def _headline(facts: Mapping[str, Any]) -> str:
    trained = facts["trained"]
    if trained is None:
        return f"A {facts['space']['name']} network for {facts['data']['name']}: untrained, with random weights"
    over = trained["over_seeds"]
    spread = f" ± {over['std']:.4f} (n = {over['n']})" if over["n"] > 1 else " (n = 1)"
    return f"A {facts['space']['name']} network for {facts['data']['name']}: test accuracy {over['mean']:.4f}{spread}"


def _protocol(facts: Mapping[str, Any]) -> RetrainingProtocol:
    """The protocol by which the network of a `model.json` was retrained."""
    space, data, trained = facts["space"], facts["data"], facts["trained"]
    return RetrainingProtocol(
        space["name"],
        space["settings"],
        data["name"],
        trained["split"],
        trained["part"],
        trained["recipe"],
        tested=trained["tested"],
    )


def _caveat(facts: Mapping[str, Any]) -> str:
    """A remark if the accuracy on these images is too high."""
    if facts["trained"] is None or not _protocol(facts).trained_on_validation_images_of(facts["data"]["split"]):
        return ""
    return "The network may have been trained on these images, so only its test accuracy says how good it is. "


def _training(facts: Mapping[str, Any]) -> list[str]:
    """How it was trained; a data set that allows no mirrored images leaves the recipe's `flip` without effect."""
    trained = facts["trained"]
    if trained is None:
        return ["| training | none: the weights are random |"]
    protocol = _protocol(facts)
    without_effect = {"network"} if facts["data"]["mirror"] else {"network", "flip"}
    shown = {key: value for key, value in protocol.recipe.items() if key not in without_effect and value is not None}
    best = ", best epoch by validation" if protocol.tested == "best" else ""
    images = "training" if protocol.validated else "training and validation"
    return [
        f"| test accuracy | {trained['test_accuracy']:.4f} for these weights (seed {trained['seed']}{best}), measured "
        "once |",
        f"| training | {trained['seconds']:,.0f} s on {images} images: {_listed(shown)} |",
    ]


def _threshold(facts: Mapping[str, Any]) -> list[str]:
    threshold = facts.get("threshold")
    if threshold is None:
        return []
    return [
        f"| {NONE_LABEL} | said of an image whose likeliest class has a probability below {threshold['value']:g}: "
        f"{threshold['kept']:.1%} of the right answers on {plural(threshold['images'], 'validation image')} are not "
        f"below it, and the accuracy on all that are not is {threshold['accuracy']:.4f} |"
    ]


def _usage(facts: Mapping[str, Any]) -> list[str]:
    lines = ["## Use", "", "```bash", "nas predict model=. images=FOLDER", "```", ""]
    if "state" in facts["formats"]:
        lines += [
            "For a search space of your own, run `nas --config-dir FOLDER predict …` in the folder of its module. A "
            "model with `onnx` does not need the space.",
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
