"""A training recipe: everything that decides how a network is trained, and nothing of what is searched."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal

from nas.core import UsageError, number_in, one_of, whole_number

HUGE = 2**63 - 1
LATER: Mapping[str, Any] = {
    "grad_clip": None,
    "drop_path": 0.0,
    "auxiliary_weight": 0.0,
    "label_smoothing": 0.0,
    "ema": 0.0,
}
"""Settings that came after the first results were stored, at the values that change nothing."""


@dataclass(frozen=True)
class Recipe:
    """SGD with momentum and a cosine schedule, as NAS-Bench-201 and DARTS train.

    Differs from the code of both: the learning rate falls at each step, theirs at each epoch.

    Args:
        epochs: passes over the training images.
        batch_size: images a step, from 2: one image has no variance to normalise by.
        lr: learning rate of the first step, above 0.
        lr_min: where the cosine ends, 0 to lr, after the last step (Loshchilov & Hutter 2017, eq. 5, no restart).
        momentum: 0 to 1.
        nesterov: Nesterov's form of the momentum.
        weight_decay: L2 penalty on every parameter, normalisation included, from 0.
        grad_clip: largest norm of the gradient of all parameters together, above 0 (DARTS: 5); None: any.
        crop: padding before the random crop, as a fraction of the image's side (4 of 32 pixels: 0.125).
        flip: mirror half of the images, where the data set says that keeps the label.
        drop_path: probability that an edge of a cell is dropped for an image, 0 to below 1; rises to it linearly over
            the epochs (Zoph et al., CVPR 2018; DARTS: 0.2). For networks that have it.
        auxiliary_weight: of the loss of an auxiliary head, from 0 (DARTS: 0.4). For networks that have one.
        label_smoothing: share of a label that is spread over all classes, 0 to below 1 (Szegedy et al., CVPR 2016,
            section 7). The reported losses of validation and test are without it.
        ema: decay of the exponential moving average of the weights that is validated and kept in their place, 0 to
            below 1; 0: none. It begins lower and rises to it, as (1 + step) / (10 + step).
        cutout: side of the square that is blanked, as a fraction of the image's side (16 of 32 pixels: 0.5); 0: none.
        train_images, valid_images: train and validate on at most so many, the first of the split; None: all.
        validate_every: validate after every so many epochs and after the last; None: after the last alone. The final
            metrics are the same.
        network: size of the skeleton (`channels`, `cells`) in place of the space's own.
        precision: `fp32`, `tf32` (fp32 with TF32 products on CUDA), or `bf16` (autocast to bfloat16).
        channels_last: memory format; the same numbers, up to rounding, in less time on CPU and GPU.
        threads: CPU threads; None leaves torch's choice. Sums may round differently with another number.
        deterministic: repeat bit for bit on the same machine.
        time_limit: seconds after which training is given up; None: never.
    """

    part: ClassVar[str] = "trainer"
    """The key that its settings stand under, for messages."""

    epochs: int
    batch_size: int = 256
    lr: float = 0.1
    lr_min: float = 0.0
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    grad_clip: float | None = None
    crop: float = 0.125
    flip: bool = True
    cutout: float = 0.0
    drop_path: float = 0.0
    auxiliary_weight: float = 0.0
    label_smoothing: float = 0.0
    ema: float = 0.0
    train_images: int | None = None
    valid_images: int | None = None
    validate_every: int | None = 1
    network: Mapping[str, Any] = field(default_factory=dict)
    precision: Literal["fp32", "tf32", "bf16"] = "fp32"
    channels_last: bool = True
    threads: int | None = None
    deterministic: bool = True
    time_limit: float | None = None

    def __post_init__(self) -> None:
        whole_number(f"{self.part}.epochs", self.epochs)
        whole_number(f"{self.part}.batch_size", self.batch_size, least=2)
        number_in(f"{self.part}.lr", self.lr, 0.0, math.inf, above=True)
        number_in(f"{self.part}.lr_min", self.lr_min, 0.0, self.lr)
        number_in(f"{self.part}.momentum", self.momentum, 0.0, 1.0)
        number_in(f"{self.part}.weight_decay", self.weight_decay, 0.0, math.inf)
        number_in(f"{self.part}.grad_clip", self.grad_clip, 0.0, math.inf, above=True, null=True)
        number_in(f"{self.part}.crop", self.crop, 0.0, 1.0)
        number_in(f"{self.part}.cutout", self.cutout, 0.0, 1.0)
        number_in(f"{self.part}.drop_path", self.drop_path, 0.0, 0.999)
        number_in(f"{self.part}.auxiliary_weight", self.auxiliary_weight, 0.0, math.inf)
        number_in(f"{self.part}.label_smoothing", self.label_smoothing, 0.0, 0.999)
        number_in(f"{self.part}.ema", self.ema, 0.0, 0.999999)
        number_in(f"{self.part}.time_limit", self.time_limit, 0.0, math.inf, above=True, null=True)
        one_of(f"{self.part}.precision", self.precision, ("fp32", "tf32", "bf16"))
        for key, least, most in (
            ("train_images", 2, HUGE),
            ("valid_images", 1, HUGE),
            ("validate_every", 1, HUGE),
            ("threads", 1, 1024),
        ):
            if getattr(self, key) is not None:
                whole_number(f"{self.part}.{key}", getattr(self, key), least, most)
        for key in ("nesterov", "flip", "channels_last", "deterministic"):
            if not isinstance(getattr(self, key), bool):
                raise UsageError(f"{self.part}.{key} must be true or false, got {getattr(self, key)!r}")
        if not isinstance(self.network, Mapping):
            raise UsageError(f"{self.part}.network must be a mapping such as {{channels: 8}}, got {self.network!r}")
        if self.nesterov and self.momentum == 0:
            raise UsageError(f"{self.part}.nesterov=true needs {self.part}.momentum above 0, got 0")

    def protocol(self) -> dict[str, Any]:
        """What makes two trainings comparable: all settings but those that say how they are computed."""
        settings = asdict(self)
        settings["network"] = dict(self.network)
        for key in ("channels_last", "threads", "deterministic", "time_limit", "validate_every"):
            del settings[key]
        # what came later says something only where it is used, so that older results stay comparable
        return {key: value for key, value in settings.items() if key not in LATER or value != LATER[key]}

    def validates_after(self, epoch: int) -> bool:
        """Whether the validation images are looked at after this epoch, counted from 1."""
        return epoch == self.epochs or (self.validate_every is not None and epoch % self.validate_every == 0)

    def learning_rate(self, progress: float) -> float:
        """Learning rate after `progress` (0-1) of all steps."""
        return self.lr_min + (self.lr - self.lr_min) * 0.5 * (1 + math.cos(math.pi * progress))
