"""Protocols: what is stored comes back byte for byte, and says what may be compared."""

import json

import pytest

from nas.store.protocol import EvaluationProtocol, RetrainingProtocol

RECIPE = {"epochs": 12, "train_images": 400, "network": {"channels": 8}}
RETRAINED_PROTOCOL = {
    "space": {"name": "nasbench201", "settings": {"channels": 16, "cells": 5}},
    "data": "digits",
    "split": "c423988697f0fef0",
    "part": "train+valid",
    "recipe": RECIPE,
}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"part": "train", "test_normalisation": "training"},
        {"part": "train", "tested": "best", "validate_every": None},
        {"part": "train", "tested": "best", "validate_every": 2},
    ],
)
def test_a_stored_retraining_comes_back_byte_for_byte(more):
    stored = {**RETRAINED_PROTOCOL, **more}
    assert json.dumps(RetrainingProtocol.from_json(stored).to_json()) == json.dumps(stored)


def test_sizes_of_the_network_do_not_make_another_space():
    protocol = RetrainingProtocol.from_json(RETRAINED_PROTOCOL)
    assert protocol.is_of_space("nasbench201", {"channels": 4, "cells": 5})
    assert not protocol.is_of_space("nasbench201", {"channels": 16, "cells": 4})
    assert not protocol.is_of_space("darts", {"channels": 16, "cells": 5})


def test_a_retraining_with_validation_has_not_seen_the_validation_images_of_its_split():
    whole = RetrainingProtocol.from_json(RETRAINED_PROTOCOL)
    part = RetrainingProtocol.from_json({**RETRAINED_PROTOCOL, "part": "train"})
    assert whole.trained_on_validation_images_of("c423988697f0fef0")
    assert not part.trained_on_validation_images_of("c423988697f0fef0")
    assert part.trained_on_validation_images_of("another")


@pytest.mark.parametrize(
    ("settings", "description", "epochs"),
    [
        ({}, "", None),
        ({"mine": {"recipe": 3}}, "", None),
        (
            {"data": "digits", "split": "c4", "recipe": RECIPE},
            "digits (split c4), 12 epochs, at most 400 training images, channels 8",
            12,
        ),
        ({"table": "ab12", "column": "valid", "cost": None}, "table ab12, valid", None),
        (
            {
                "data": "digits",
                "split": "c4",
                "recipe": {"epochs": 1},
                "shared_weights": {"train": "before", "sampling": "fair", "seed": 3},
            },
            "digits (split c4), scored by a supernet trained on fair paths, 1 epoch (seed 3)",
            None,
        ),
    ],
)
def test_a_protocol_in_words(settings, description, epochs):
    protocol = EvaluationProtocol(settings)
    assert protocol.description(None) == description
    assert protocol.epochs(None) == epochs
    assert protocol.epochs(3) == 3


def test_a_key_that_no_version_knows_still_keeps_results_apart():
    mine, other = EvaluationProtocol({"mine": 1}), EvaluationProtocol({"mine": 2})
    assert mine.key({}, None) != other.key({}, None)
    assert mine.key({}, None) == EvaluationProtocol({"mine": 1}).key({"seed": 4}, None)
    assert mine.key({}, None) != mine.key({}, 3)
    assert EvaluationProtocol().key({"evaluator": "a"}, None) != EvaluationProtocol().key({"evaluator": "b"}, None)
