"""The options of `nas fit`."""

from __future__ import annotations

from dataclasses import dataclass

from nas.cli.options import RESULT_FORMATS, CommandOptions
from nas.errors import UsageError
from nas.validation import number_in, one_of, true_or_false, whole_number

MAX_MINUTES = 60 * 24 * 30


@dataclass(frozen=True)
class FitOptions(CommandOptions):
    """Settings of `nas fit`; `configs/fit.yaml` describes them."""

    minutes: float
    backbone: str | None
    download: bool
    out: str
    run: str | None
    seed: int
    device: str
    speed: str | None
    dir: str
    progress: bool
    format: str

    def __post_init__(self) -> None:
        number_in("minutes", self.minutes, 0.0, MAX_MINUTES, above=True)
        one_of("format", self.format, RESULT_FORMATS)
        whole_number("seed", self.seed, least=0)
        true_or_false("download", self.download)
        if not self.out.strip():
            raise UsageError("out= is empty; expected a folder for the model, such as out=model")
