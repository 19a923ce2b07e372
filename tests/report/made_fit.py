"""A made-up record of `nas fit`, with names that would break a careless page."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

NASTY = "</script><img src=x onerror=alert(1)>"
CLASSES = ["cat", "dog & wolf", NASTY, "“fish”", "a very long name of a class that does not fit anywhere"]
FINDINGS = [
    ("unreadable", "problem", "2 pictures cannot be read.", 2, "Replace or remove them."),
    ("duplicate_under_two_labels", "problem", f"1 picture is in two classes: cat and {NASTY}.", 1, "Decide which one is right."),
    ("turned_by_exif", "note", "5 pictures are turned by their EXIF data; they are read upright.", 5, "Nothing to do."),
]  # fmt: skip


def make_fit(folder: Path, images: int = 240, classes: list[str] = CLASSES, side: int = 32, seed: int = 0) -> Path:
    """Write DIR/RUN/fit, and pictures that its findings name, into `photos` beside it."""
    rng = np.random.default_rng(seed)
    photos = folder.parent / "photos"
    folder.mkdir(parents=True)
    photos.mkdir(exist_ok=True)
    for number in range(6):
        Image.fromarray(rng.integers(0, 255, (90, 120, 3), dtype=np.uint8)).save(photos / f"{number}.jpg")
    count = len(classes)
    inspection = {
        "pictures": 5 * images + 2,
        "readable": 5 * images,
        "channels": 3,
        "side": 64,
        "seconds": 3.25,
        "classes": [
            {"name": name, "count": 5 * images // count, "train": 3 * images // count, "valid": images // count, "test": images // count}
            for name in classes
        ],
        "findings": [
            {"kind": kind, "severity": severity, "title": title, "number": number, "files": [f"{i}.jpg" for i in range(6)] + [f"{NASTY}.jpg"] * 5, "advice": advice}
            for kind, severity, title, number, advice in FINDINGS
        ],
    }  # fmt: skip
    labels = rng.integers(0, count, images)
    logits = rng.normal(size=(images, count)) + 2.2 * np.eye(count)[labels]
    probabilities = (np.exp(2 * logits) / np.exp(2 * logits).sum(axis=1, keepdims=True)).astype(np.float32)
    right = float((probabilities.argmax(axis=1) == labels).mean())
    base = np.asarray(rng.random(images) < right - 0.04)
    thumbnails = (rng.integers(0, 80, (images, side, side, 3)) + 35 * labels[:, None, None, None]).astype(np.uint8)
    np.savez_compressed(
        folder / "predictions.npz",
        test_files=np.array([f"{classes[label][:20]}/{number}.jpg" for number, label in enumerate(labels)]),
        test_labels=labels,
        test_probabilities=probabilities,
        test_thumbnails=thumbnails,
        baseline_correct=base,
        valid_labels=labels,
        valid_probabilities=probabilities,
    )
    model = folder.parent / "model"
    model.mkdir(exist_ok=True)
    threshold = {"value": 0.62, "kept": 0.95, "accuracy": 0.934, "images": 240}
    (model / "model.json").write_text(json.dumps({"threshold": threshold}))
    winner = {
        "method": "frozen features with a linear head", "trial": 3, "text": "efficientnet_lite0, linear", "valid_accuracy": 0.8417,
        "test_accuracy": right, "test_low": right - 0.05, "test_high": right + 0.04, "test_images": images, "folder": str(model),
    }  # fmt: skip
    result = {
        "winner": winner,
        "baseline": {**winner, "method": "small ResNet", "test_accuracy": float(base.mean()), "test_low": float(base.mean()) - 0.05, "test_high": float(base.mean()) + 0.05, "folder": None},
        "runner_up": {"method": "fine-tuning", "trial": 7, "text": "efficientnet_lite0, fine-tuned", "valid_accuracy": 0.8375},
        "difference": {"mean": right - float(base.mean()), "low": -0.01, "high": 0.09, "p": 0.1312, "images": images, "method": "McNemar's exact test"},
        "sentence": f"The model names {100 * right:.1f} % of new pictures rightly; a plain network names {100 * base.mean():.1f} %, which is not clearly worse.",
        "commands": {"do everything again": f"nas fit data.root={photos} minutes=10", "name new pictures": "nas predict model=model images=FOLDER"},
        "seconds": 601.5,
    }  # fmt: skip
    plan = {
        "minutes": 10,
        "device": "cpu",
        "speeds": {"features": 142.5, "training": 890.0},
        "steps": [
            {"name": "look", "what": "read and check all pictures", "seconds": 5.0, "spent": 3.3},
            {"name": "signal", "what": "test whether there is anything to learn", "seconds": 20.0, "spent": 18.9},
            {"name": "search", "what": "try candidates", "seconds": 420.0, "spent": 431.0},
            {"name": "final training", "what": "train the winner on everything", "seconds": 120.0, "spent": None},
        ],
        "candidates": [
            {"method": "frozen features", "text": "efficientnet_lite0", "epochs": None, "seconds": 30.0},
            {"method": "fine-tuning", "text": "efficientnet_lite0", "epochs": 6, "seconds": 200.0},
            {"method": "small ResNet (baseline)", "text": "resnet", "epochs": 12, "seconds": 100.0},
        ],
        "corrections": ["After 2 trials training was 1.2 times slower than measured, so 1 candidate was left out."],
        "settings": {"data.root": str(photos), "seed": 0, "trainer.epochs": 12, "backbone": NASTY},
    }
    signal = {
        "verdict": "yes", "accuracy": 0.81, "low": 0.78, "high": 0.84, "chance": 0.2, "shuffled": [0.19, 0.22, 0.2],
        "images": 720, "folds": 5, "seconds": 18.9, "sentence": "Yes: about 0.81 can be expected.",
    }  # fmt: skip
    for name, content in (("inspection", inspection), ("signal", signal), ("plan", plan), ("result", result)):
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder
