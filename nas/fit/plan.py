"""What a fit does with its time: which methods, how long each trial trains, and what is kept for the final training.

Everything follows from the speeds of this machine, the number of images, and the minutes, so a fit with recorded speeds
has the same plan anywhere. The methods are those of `space=pictures`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from nas.errors import UsageError
from nas.fit.speeds import Speeds
from nas.training.head import MAX_MIRRORED

SCRATCH = ("baseline", "searched")
BASELINE: Mapping[str, Any] = {"method": "baseline", "rate": 1.0}
SIDES = (224, 160, 128, 96)
"""Sides that images may be resized to for the pretrained network, largest first: larger is better and slower."""
TRIALS = 6
"""Trials of usual length that the search should have time for, at least."""
FINAL_SHARE = 0.3
"""Share of the time after the plan that the final trainings are given before the search has found its winner."""
TRIAL_SECONDS = 1.5
"""Time of a trial beside its training: checking and counting the network."""
CHECKED_IMAGES, MAX_CHECKED_IMAGES = 200, 500
"""Images that a final training runs to check its network, and at most of the validation images to check its file."""
HEAD_SECONDS = 0.002
"""Time to fit a linear classifier, per training image, for at most 10 classes; more take longer in proportion."""
EXPORT_SECONDS, EXPORT_IMAGES = 16.0, 150
"""Time of the export and the report beside the images that the exported forms are checked on, and the number of those
over all checks."""
MAX_STEPS, MAX_EPOCHS = 2500, (4, 100)
"""Steps of a trial from random weights that its epochs should not exceed, and the limits of the epochs."""
MAX_TUNING_EPOCHS = 8
FINAL_FACTOR = {"baseline": 3.0, "searched": 3.0, "finetuned": 1.5}
"""Most epochs of the final training, as a multiple of a trial's."""
GRACE_SECONDS = 30.0
"""By how much a short fit may exceed its minutes."""


@dataclass(frozen=True)
class Counts:
    """Number of training, validation and test images, and of classes."""

    train: int
    valid: int
    test: int
    classes: int


@dataclass(frozen=True)
class Plan:
    """The plan of a fit.

    Args:
        minutes: Time that the user gave.
        counts: Images.
        speeds: Speeds that it rests on.
        methods: Methods that are tried.
        sides, finetuned_sides: Sides in pixels that images are resized to for the pretrained network, rising.
        epochs: Method -> epochs of a trial.
        train_images: Method -> training images of a trial, where not all are used.
        valid_images: Validation images that every trial is scored on.
        unit: Seconds that a usual trial takes.
        export: Seconds of the export and the report.
        notes: Sentences about what there is no time for.
    """

    minutes: float
    counts: Counts
    speeds: Speeds
    methods: tuple[str, ...]
    sides: tuple[int, ...]
    finetuned_sides: tuple[int, ...]
    epochs: Mapping[str, int]
    train_images: Mapping[str, int]
    valid_images: int
    unit: float
    export: float
    notes: tuple[str, ...] = field(default=())

    @property
    def seconds(self) -> float:
        return 60 * self.minutes

    def trial_seconds(self, chosen: Mapping[str, Any]) -> float:
        """Expected seconds of a trial.

        Args:
            chosen: Decision -> option of its architecture.
        """
        method = chosen["method"]
        images = self.train_images.get(method, self.counts.train)
        return TRIAL_SECONDS + self.training_seconds(chosen, images, self.epochs.get(method, 1), self.valid_images)

    def training_seconds(self, chosen: Mapping[str, Any], images: int, epochs: int, evaluated: int) -> float:
        """Expected seconds of a training with its evaluation.

        Args:
            images: Training images.
            epochs: Passes over them.
            evaluated: Images that it is evaluated on.
        """
        method = chosen["method"]
        if method in SCRATCH:
            slower = (chosen.get("width", 16) / 16) ** 1.6
            if chosen.get("width", 16) > 16 and epochs > 1:
                slower /= 2  # the space gives it half of the epochs
            each = epochs * images / self._rate("train", method) + evaluated / self._rate("run", method)
            return float(slower * each)
        side = chosen["side" if method == "frozen" else "finetuned_side"]
        run = self._rate("run", "frozen", side)
        copies = 2 if images <= MAX_MIRRORED else 1
        seconds = (copies * images + evaluated) / run
        seconds += HEAD_SECONDS * copies * images * max(1.0, self.counts.classes / 10)
        if method == "finetuned":
            share = {"last": 0.25, "half": 0.5, "all": 1.0}[chosen["tuned"]]
            seconds += epochs * images * (1 / run + share * (1 / self._tuning_rate(side) - 1 / run))
        return seconds

    def _rate(self, kind: str, method: str, side: int | None = None) -> float:
        rates = self.speeds.train if kind == "train" else self.speeds.run
        start = f"method={method};" + ("" if side is None else f"side={side}")
        found = next((rate for name, rate in rates.items() if name.startswith(start)), None)
        if found is None:
            raise UsageError(
                f"speed= holds no speed of {start.rstrip(';')}; expected plan.json of a fit with the same backbone"
            )
        return found

    def _tuning_rate(self, side: int) -> float:
        """Images per second where all of the pretrained network is tuned: measured at one side, scaled to others."""
        name = next((name for name in self.speeds.train if name.startswith("method=finetuned")), None)
        if name is None:
            raise UsageError("speed= holds no speed of method=finetuned; expected plan.json of a fit with a backbone")
        rate = self.speeds.train[name]
        measured = int(name.partition("finetuned_side=")[2].partition(";")[0])
        return rate * self._rate("run", "frozen", side) / self._rate("run", "frozen", measured)

    def final(self, chosen: Mapping[str, Any], seconds: float, slowness: float = 1.0) -> tuple[int, int, float]:
        """Epochs, images and expected seconds of a final training and its test.

        Args:
            chosen: Decision -> option of the architecture.
            seconds: Time for it.
            slowness: How much longer trainings took than expected.
        """
        method, counts = chosen["method"], self.counts
        whole = counts.train + counts.valid
        base = self.epochs.get(method, 1)
        most = 1 if method == "frozen" else max(1, round(base * FINAL_FACTOR[method]))

        def needed(images: int, epochs: int) -> float:
            checked = CHECKED_IMAGES + 2 * min(MAX_CHECKED_IMAGES, counts.valid)
            return TRIAL_SECONDS + slowness * self.training_seconds(chosen, images, epochs, counts.test + checked)

        epochs = next((n for n in range(most, 0, -1) if needed(whole, n) <= seconds), 1)
        images = whole
        while needed(images, epochs) > seconds and images > self.train_images.get(method, whole):
            images = max(self.train_images.get(method, whole), int(images * 0.8))
        return epochs, images, needed(images, epochs)

    def final_seconds(self, chosen: Mapping[str, Any], slowness: float = 1.0) -> float:
        """Time to keep for the final trainings of a winner and of the baseline, at their longest, within bounds."""
        most = FINAL_SHARE * (self.seconds - self.speeds.before - self.export)
        longest = self.final(chosen, float("inf"), slowness)[2]
        if chosen["method"] != "baseline":
            longest += self.final(BASELINE, float("inf"), slowness)[2]
        return min(longest, max(most, 0.0))

    def search_until(self, chosen: Mapping[str, Any] | None, slowness: float = 1.0) -> float:
        """Second of the fit at which no further trial should run.

        Args:
            chosen: Decision -> option of the best architecture so far, if there is one.
        """
        best = BASELINE if chosen is None else chosen
        return self.seconds - self.export - self.final_seconds(best, slowness)

    def space_arguments(self) -> list[str]:
        """The settings of the space and the trainer, as `key=value` of `nas search`."""
        words = [f"space.methods=[{','.join(self.methods)}]"]
        if self.sides:
            words.append(f"space.sides=[{','.join(map(str, self.sides))}]")
        if self.finetuned_sides:
            words.append(f"space.finetuned_sides=[{','.join(map(str, self.finetuned_sides))}]")
        for key, numbers in (("epochs", self.epochs), ("train_images", self.train_images)):
            if numbers:
                words.append(f"space.{key}={{{', '.join(f'{name}: {number}' for name, number in numbers.items())}}}")
        if self.valid_images < self.counts.valid:
            words.append(f"trainer.valid_images={self.valid_images}")
        return words

    def steps(self, spent: Mapping[str, float]) -> list[dict[str, Any]]:
        """The steps of the fit for a report: `name`, `what`, planned `seconds` (None: not planned), and those `spent`.

        Args:
            spent: Name of a step -> its seconds.
        """
        final = FINAL_SHARE * (self.seconds - self.speeds.before - self.export)
        search = max(self.seconds - self.export - final - self.speeds.before, 0.0)
        steps = (
            ("read", "The pictures are read once.", None),
            ("check", "Faults are looked for, and whether there is anything to learn.", None),
            ("plan", "The speed of this machine is measured.", None),
            ("search", "Methods are tried on the training pictures.", search),
            ("final", "The best and the baseline are trained on all but the test pictures, and tested.", final),
            ("export", "The model is written and checked, and this report.", self.export),
        )
        return [{"name": n, "what": what, "seconds": planned, "spent": spent.get(n)} for n, what, planned in steps]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Plan:
        """The plan that `to_json` wrote; what else a record holds is left aside."""
        content = {one.name: content[one.name] for one in fields(cls)}
        lists = {key: tuple(content[key]) for key in ("methods", "sides", "finetuned_sides", "notes")}
        counts, speeds = Counts(**content["counts"]), Speeds(**content["speeds"])
        return cls(**{**content, **lists, "counts": counts, "speeds": speeds})


def make_plan(minutes: float, counts: Counts, speeds: Speeds, methods: Sequence[str]) -> Plan:
    """The plan for some minutes.

    Args:
        minutes: Time of the whole fit.
        counts: Images.
        speeds: Speeds of this machine.
        methods: Methods that may be tried.

    Raises:
        UsageError: The time is too short for the shortest training; says what fits.
    """
    plan = Plan(minutes, counts, speeds, tuple(methods), (), (), {}, {}, counts.valid, 0.0, EXPORT_SECONDS)
    if "frozen" not in methods and "finetuned" not in methods:
        return _with_scratch(_timed(replace(plan, methods=tuple(name for name in methods if name in SCRATCH))))
    start = "method=frozen;side="
    known = sorted((int(name.removeprefix(start)) for name in speeds.run if name.startswith(start)), reverse=True)
    if not known:
        raise UsageError("speed= holds no speed of method=frozen; expected plan.json of a fit with a backbone")
    for top in known:
        trial = _timed(replace(plan, sides=tuple(sorted(known)), export=_export_seconds(plan, top)))
        chosen = {"method": "frozen", "side": top}
        tested = trial.training_seconds(chosen, counts.train + counts.valid, 1, counts.test)
        if trial.unit > 0 and trial.trial_seconds(chosen) <= 1.5 * trial.unit and tested <= 0.25 * plan.seconds:
            sides = tuple(sorted(side for side in known if side <= top))[-2:]
            return _with_tuning(_with_scratch(replace(trial, sides=sides)), known)
    return _with_few_images(_timed(replace(plan, export=_export_seconds(plan, known[-1]))), known[-1])


def _export_seconds(plan: Plan, side: int) -> float:
    return EXPORT_SECONDS + EXPORT_IMAGES / plan._rate("run", "frozen", side)


def _timed(plan: Plan) -> Plan:
    """The plan with the length of a usual trial, and with as many validation images as a trial has time for."""
    left = plan.seconds - plan.speeds.before - plan.export
    if left < -GRACE_SECONDS / 2:
        needed = plan.speeds.before + plan.export + 10
        raise UsageError(
            f"minutes={plan.minutes:g} is too short: reading and checking these pictures took {plan.speeds.before:.0f} "
            f"s, and the export takes about {plan.export:.0f} s; set minutes={_rounded(needed / 60):g} or more"
        )
    unit = max(left, 4.0) * (1 - FINAL_SHARE) / TRIALS
    slowest = min(plan.speeds.run.values())
    enough = max(50, 5 * plan.counts.classes, int(unit / 4 * slowest))
    return replace(plan, unit=unit, valid_images=min(plan.counts.valid, enough))


def _rounded(minutes: float) -> float:
    """Minutes rounded up to one digit after the point."""
    return -(-minutes * 10 // 1) / 10


def _with_scratch(plan: Plan) -> Plan:
    """The plan with the epochs of the methods that start from random weights."""
    epochs, images = dict(plan.epochs), dict(plan.train_images)
    for method in SCRATCH:
        if method not in plan.methods:
            continue
        rate, whole = plan._rate("train", method), plan.counts.train
        time = plan.unit - TRIAL_SECONDS - plan.valid_images / plan._rate("run", method)
        steps = -(-whole // 64)
        most = min(max(MAX_STEPS // steps, MAX_EPOCHS[0]), MAX_EPOCHS[1])
        epochs[method] = min(max(int(time * rate / whole), 1), most)
        if time * rate < whole:
            images[method] = min(whole, max(2 * plan.counts.classes, 64, int(max(time, 0.2) * rate)))
    return replace(plan, epochs=epochs, train_images=images)


def _with_tuning(plan: Plan, known: Sequence[int]) -> Plan:
    """The plan with the largest side at which the pretrained network can be tuned for two epochs, or one."""
    if "finetuned" not in plan.methods:
        return plan
    for least in (2, 1):
        for side in known:
            chosen = {"method": "finetuned", "finetuned_side": side, "tuned": "all"}

            def seconds(epochs: int, chosen: Mapping[str, Any] = chosen) -> float:
                return plan.training_seconds(chosen, plan.counts.train, epochs, plan.valid_images)

            fitting = [count for count in range(1, MAX_TUNING_EPOCHS + 1) if seconds(count) <= 1.5 * plan.unit]
            if fitting and fitting[-1] >= least:
                sides = tuple(sorted(one for one in known if one <= side))[-2:]
                return replace(plan, finetuned_sides=sides, epochs={**plan.epochs, "finetuned": fitting[-1]})
    note = "There is no time to tune the pretrained network; more minutes would allow it."
    methods = tuple(name for name in plan.methods if name != "finetuned")
    return replace(plan, methods=methods, notes=(*plan.notes, note))


def _with_few_images(plan: Plan, side: int) -> Plan:
    """The plan for so many images, or so little time, that frozen features are computed of a part of them."""
    rate = plan._rate("run", "frozen", side)
    images = min(plan.counts.train, int((plan.unit - TRIAL_SECONDS) * rate) - plan.valid_images)
    tested = (images + plan.counts.test) / rate
    note = "There is no time to tune the pretrained network; more minutes would allow it."
    methods = tuple(name for name in plan.methods if name != "finetuned")
    if images < 4 * plan.counts.classes or tested > 0.3 * plan.seconds:
        note = "There is no time for the pretrained network; more minutes would allow it."
        methods = tuple(name for name in methods if name in SCRATCH)
        return _with_scratch(replace(plan, methods=methods, notes=(note,)))
    limited = {"frozen": images} if images < plan.counts.train else {}
    return _with_scratch(replace(plan, methods=methods, sides=(side,), train_images=limited, notes=(note,)))
