"""A training recipe: everything that decides how a network is trained, and nothing that is searched."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal

from nas.errors import UsageError
from nas.identity import ADDED_TRAINING_SETTINGS
from nas.validation import number_in, one_of, true_or_false, whole_number

MAX_INT = 2**63 - 1
NEUTRAL_VALUES: Mapping[str, Any] = {
    "grad_clip": None,
    "drop_path": 0.0,
    "auxiliary_weight": 0.0,
    "label_smoothing": 0.0,
    "ema": 0.0,
    **ADDED_TRAINING_SETTINGS,
}
"""Settings added after the first results were stored, at the values that change nothing."""


@dataclass(frozen=True)
class Recipe:
    """By default SGD with momentum and a cosine schedule, as NAS-Bench-201 and DARTS train.

    Differs from the code of both: the learning rate falls at each step, theirs at each epoch. The last four settings
    of training are for other networks and data: transformers need AdamW and warm-up, noisy labels mixed images.

    Args:
        epochs: Passes over the training images.
        batch_size: Images per step, from 2: one image has no variance to normalise by.
        lr: Learning rate of the first step, above 0.
        lr_min: Learning rate at the end of the cosine, 0 to lr, after the last step (Loshchilov & Hutter 2017, eq. 5,
            no restart).
        momentum: Momentum of SGD, 0 to 1.
        nesterov: Nesterov's form of the momentum; SGD only.
        weight_decay: Weight decay, from 0, of every parameter, normalisation and biases included, as torch's optimizers
            do by default. SGD: L2 penalty, a part of the gradient. AdamW: decoupled, the weights shrink by lr *
            weight_decay a step (Loshchilov & Hutter, ICLR 2019).
        grad_clip: Largest norm of the gradient of all parameters together, above 0 (DARTS: 5); None: no clipping.
        crop: Padding before the random crop, as a fraction of the image's side (4 of 32 pixels: 0.125).
        flip: Mirror half of the images, if the data set says that a mirrored image keeps its label.
        drop_path: Probability that an edge of a cell is dropped for an image, 0 to below 1; rises to it linearly over
            the epochs (Zoph et al., CVPR 2018; DARTS: 0.2). For networks that support it.
        auxiliary_weight: Weight of the loss of an auxiliary head, from 0 (DARTS: 0.4). For networks that have one.
        label_smoothing: Share of a label that is spread over all classes, 0 to below 1 (Szegedy et al., CVPR 2016,
            section 7). The reported losses of validation and test are without it.
        ema: Decay of the exponential moving average of the weights that is validated and saved in their place, 0 to
            below 1; 0: none. The decay starts lower and rises to this value, as (1 + step) / (10 + step).
        cutout: Side of the square that is blanked, as a fraction of the image's side (16 of 32 pixels: 0.5); 0: none.
        optimizer: `sgd`, or `adamw`: torch's own with its betas (0.9, 0.999) and eps 1e-8, which takes learning rates
            around 0.001. AdamW has neither `momentum` nor `nesterov`: a momentum other than the default is refused, and
            `nesterov` has no effect.
        warmup_epochs: Epochs, below `epochs`, in which the learning rate rises linearly step by step
            (`learning_rate_of_step`); 0: none.
        mixup: Alpha of mixup's Beta(alpha, alpha), 0 to 1000 (Zhang et al., ICLR 2018: 0.1 to 0.4 on ImageNet, 1 on
            CIFAR-10); 0: none.
        cutmix: Alpha of CutMix's Beta(alpha, alpha), 0 to 1000 (Yun et al., ICCV 2019: 1); 0: none. Every batch is
            mixed; with both, each batch by either one with equal chance (`nas.training.mix`).
        train_images, valid_images: Train and validate on at most this many images, the first of the split; None: all.
        validate_every: Epochs between validations, and always after the last; None: only after the last. The final
            metrics are the same.
        network: Size of the skeleton (`channels`, `cells`) instead of the space's own.
        precision: `fp32`, `tf32` (fp32 with TF32 products on CUDA), or `bf16` (autocast to bfloat16).
        channels_last: Memory format; the same numbers, up to rounding, in less time on CPU and GPU.
        threads: CPU threads; None leaves torch's choice. Sums may round differently with another number.
        deterministic: Bit-for-bit reproducible results on the same machine.
        time_limit: Seconds after which training is stopped; None: no limit.
    """

    part: ClassVar[str] = "trainer"
    """The key of its settings, for messages."""

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
    optimizer: Literal["sgd", "adamw"] = "sgd"
    warmup_epochs: int = 0
    mixup: float = 0.0
    cutmix: float = 0.0
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
        number_in(f"{self.part}.mixup", self.mixup, 0.0, 1000.0)
        number_in(f"{self.part}.cutmix", self.cutmix, 0.0, 1000.0)
        number_in(f"{self.part}.time_limit", self.time_limit, 0.0, math.inf, above=True, null=True)
        one_of(f"{self.part}.precision", self.precision, ("fp32", "tf32", "bf16"))
        one_of(f"{self.part}.optimizer", self.optimizer, ("sgd", "adamw"))
        whole_number(f"{self.part}.warmup_epochs", self.warmup_epochs, least=0)
        if self.warmup_epochs >= self.epochs:
            raise UsageError(
                f"{self.part}.warmup_epochs must be below {self.part}.epochs={self.epochs}, got {self.warmup_epochs}"
            )
        for key, least, most in (
            ("train_images", 2, MAX_INT),
            ("valid_images", 1, MAX_INT),
            ("validate_every", 1, MAX_INT),
            ("threads", 1, 1024),
        ):
            if getattr(self, key) is not None:
                whole_number(f"{self.part}.{key}", getattr(self, key), least, most)
        for key in ("nesterov", "flip", "channels_last", "deterministic"):
            true_or_false(f"{self.part}.{key}", getattr(self, key))
        if not isinstance(self.network, Mapping):
            raise UsageError(f"{self.part}.network must be a mapping such as {{channels: 8}}, got {self.network!r}")
        if self.optimizer == "adamw" and self.momentum != Recipe.momentum:
            raise UsageError(
                f"{self.part}.momentum={self.momentum:g} has no effect with {self.part}.optimizer=adamw, whose betas "
                f"are 0.9 and 0.999; leave it at {Recipe.momentum:g}, or set {self.part}.optimizer=sgd"
            )
        if self.nesterov and self.momentum == 0:
            raise UsageError(f"{self.part}.nesterov=true needs {self.part}.momentum above 0, got 0")

    def protocol(self) -> dict[str, Any]:
        """The settings that comparable trainings share: all but those that only decide how they are computed."""
        settings = asdict(self)
        settings["network"] = dict(self.network)
        for key in ("channels_last", "threads", "deterministic", "time_limit", "validate_every"):
            del settings[key]
        if self.optimizer == "adamw":
            del settings["momentum"], settings["nesterov"]
        for key in ("mixup", "cutmix"):
            settings[key] = float(settings[key])  # 1 and 1.0 are one training
        # later settings count only if they are used, so older results stay comparable
        return {
            key: value for key, value in settings.items() if key not in NEUTRAL_VALUES or value != NEUTRAL_VALUES[key]
        }

    def validates_after(self, epoch: int) -> bool:
        """Whether the network is validated after this epoch, counted from 1."""
        return epoch == self.epochs or (self.validate_every is not None and epoch % self.validate_every == 0)

    def learning_rate(self, progress: float) -> float:
        """Learning rate after `progress` (0-1) of all steps."""
        return self.lr_min + (self.lr - self.lr_min) * 0.5 * (1 + math.cos(math.pi * progress))

    def learning_rate_of_step(self, step: int, steps: int) -> float:
        """Learning rate of a step of the training, warm-up included.

        With s steps per epoch, W = warmup_epochs * s and T = epochs * s, step t = 0, 1, ... has
        lr * (t + 1) / W for t < W (Goyal et al. 2017, https://arxiv.org/abs/1706.02677, section 2.2, from 0), and
        lr_min + (lr - lr_min) / 2 * (1 + cos(pi * (t - W) / (T - W))) from t = W on.

        Args:
            step: Index t of the step, from 0.
            steps: Number s of steps in an epoch.
        """
        warm = self.warmup_epochs * steps
        if step < warm:
            return self.lr * (step + 1) / warm
        return self.learning_rate((step - warm) / (self.epochs * steps - warm))
