"""How stored results were obtained: which of them may be ranked together, and descriptions for people.

Stored as JSON and compared as such: a key that this version does not know still keeps two results apart.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from nas.formatting import plural
from nas.identity import identifying


@dataclass(frozen=True)
class EvaluationProtocol:
    """How the trials of a run were scored.

    Args:
        settings: Result of the evaluator's `protocol()`, JSON-safe; empty for an evaluator that has none.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def data(self) -> str | None:
        """Name of the data set; None for an evaluator without images."""
        return self.settings.get("data")

    @property
    def split(self) -> str | None:
        """Hash of the split of its images."""
        return self.settings.get("split")

    @property
    def recipe(self) -> Mapping[str, Any]:
        """Settings of the training, of the supernet's with shared weights; empty if nothing is trained."""
        return self.settings.get("recipe") or {}

    @property
    def network(self) -> Mapping[str, Any]:
        """Sizes of the trained network."""
        return self.recipe.get("network") or {}

    @property
    def table(self) -> str | None:
        """Digest of the benchmark table that results were looked up in; None for an evaluator without one."""
        return self.settings.get("table")

    @property
    def has_costs(self) -> bool:
        """Whether the table says what a query costs."""
        return self.settings.get("cost") is not None

    @property
    def shared_weights(self) -> Mapping[str, Any] | None:
        """How the scoring supernet was trained; None for an evaluator without one."""
        return self.settings.get("shared_weights")

    @property
    def weights_are_fixed(self) -> bool:
        """Whether the weights that score were trained before the search, so that each architecture has one score."""
        return self.shared_weights is not None and self.shared_weights.get("train") == "before"

    def split_of(self, data: str) -> str | None:
        """Hash of the split, if the images were those of this data set."""
        return self.split if self.data == data else None

    def epochs(self, fidelity: int | None) -> int | None:
        """Epochs that a trial was trained for; None for evaluators without epochs.

        Args:
            fidelity: Fidelity of its proposal.
        """
        return fidelity or (self.recipe.get("epochs") if self.shared_weights is None else None)

    def key(self, config: Mapping[str, Any], fidelity: int | None) -> str:
        """Eight hexadecimal digits, equal only if two results may be ranked together.

        Args:
            config: Settings of the run.
            fidelity: Fidelity of the trial's proposal.
        """
        # without a protocol of the evaluator's own, its settings have to do
        settings = self.settings or {"evaluator": config.get("evaluator"), "data": config.get("data")}
        compared = {
            "protocol": settings,
            "space": config.get("space"),
            "objective": config.get("objective"),
            "epochs": self.epochs(fidelity),
        }
        return hashlib.blake2b(json.dumps(identifying(compared), sort_keys=True).encode(), digest_size=4).hexdigest()

    def description(self, fidelity: int | None) -> str:
        """A description of trials of this protocol and fidelity, for people; empty if nothing is known."""
        parts = []
        if self.data is not None:
            parts.append(f"{self.data} (split {self.split})")
        if self.table is not None:
            parts.append(f"table {self.table}, {self.settings.get('column')}")
        shared, epochs = self.shared_weights, self.epochs(fidelity)
        if shared is not None:
            how = "the proposals"
            if "sampling" in shared:
                how = f"{shared['sampling']} paths, {plural(self.recipe['epochs'], 'epoch')}"
            parts.append(f"scored by a supernet trained on {how} (seed {shared['seed']})")
        if epochs is not None:
            parts.append(plural(epochs, "epoch"))
        if self.recipe.get("train_images"):
            parts.append(f"at most {self.recipe['train_images']} training images")
        return ", ".join([*parts, *(f"{key} {value}" for key, value in self.network.items())])


@dataclass(frozen=True)
class RetrainingProtocol:
    """How an architecture was retrained.

    Args:
        space: Name of its space.
        space_settings: Settings of its space.
        data: Name of the data set.
        split: Hash of its split.
        part: Images that it was trained on.
        recipe: Settings of the training, with the sizes of the `network`.
        test_normalisation: `training` if the data set states another mean and std for its test images, which version
            0.1.0 normalised them by.
        tested: Tested weights, those of the last or of the best epoch.
        validate_every: Epochs between two validations, with `tested="best"`; None: only after the last.
    """

    space: str
    space_settings: Mapping[str, Any]
    data: str
    split: str
    part: Literal["train", "train+valid"]
    recipe: Mapping[str, Any]
    test_normalisation: str | None = None
    tested: Literal["last", "best"] = "last"
    validate_every: int | None = None

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> RetrainingProtocol:
        """The protocol of a stored retraining.

        Raises:
            KeyError, TypeError: It is damaged.
        """
        return cls(
            stored["space"]["name"],
            stored["space"]["settings"],
            stored["data"],
            stored["split"],
            stored["part"],
            stored["recipe"],
            stored.get("test_normalisation"),
            stored.get("tested", "last"),
            stored.get("validate_every"),
        )

    def to_json(self) -> dict[str, Any]:
        """The facts that comparable retrainings share; keys of later versions only with values other than the
        default."""
        best = {"tested": "best", "validate_every": self.validate_every}
        return {
            "space": {"name": self.space, "settings": dict(self.space_settings)},
            "data": self.data,
            "split": self.split,
            "part": self.part,
            "recipe": self.recipe,
            **({} if self.test_normalisation is None else {"test_normalisation": self.test_normalisation}),
            **(best if self.tested == "best" else {}),
        }

    @property
    def network(self) -> Mapping[str, Any]:
        """Sizes of the network."""
        sizes: Mapping[str, Any] = self.recipe["network"]
        return sizes

    @property
    def validated(self) -> bool:
        """Whether it was trained on the training images only, and validated on the others."""
        return self.part == "train"

    def trained_on_validation_images_of(self, split: str) -> bool:
        """Whether it may have been trained on validation images of a split."""
        return not self.validated or self.split != split

    def recipe_description(self) -> str:
        """The images, the epochs and the sizes of the network, for people."""
        part = "training" if self.validated else "training and validation"
        images = f"{part} images, {self.recipe['train_images'] or 'all'} of them"
        sizes = (f"{key} {value}" for key, value in self.network.items())
        return ", ".join([images, plural(self.recipe["epochs"], "epoch"), *sizes])

    def is_of_space(self, name: str, settings: Mapping[str, Any]) -> bool:
        """Whether its space is this one; sizes of the network are the recipe's and may differ."""
        mine, theirs = (
            {key: value for key, value in one.items() if key not in self.network}
            for one in (self.space_settings, settings)
        )
        return self.space == name and mine == theirs
