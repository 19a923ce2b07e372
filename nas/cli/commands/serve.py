"""Label pictures in the browser with an exported model.

model= is a folder that nas export wrote; no code in it is executed, so it may come from elsewhere. The page is on this
machine only, unless host= is set: pictures that are dropped onto it are labelled and not stored. Ctrl-C ends it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from nas.cli.options import CommandOptions
from nas.config.settings import make_space
from nas.errors import UsageError
from nas.validation import number_in, whole_number

if TYPE_CHECKING:
    from nas.config.settings import Settings


@dataclass(frozen=True)
class ServeOptions(CommandOptions):
    """Settings of `nas serve`; `configs/serve.yaml` describes them."""

    model: str | None
    host: str
    port: int
    background: str | None
    threshold: float | None
    top: int

    def __post_init__(self) -> None:
        from nas.pictures.decoding import parse_colour

        whole_number("port", self.port, least=0, most=65535)
        whole_number("top", self.top)
        number_in("threshold", self.threshold, 0, 1, null=True)
        if not self.model:
            raise UsageError("model=null; expected a folder of nas export")
        if not self.host:
            raise UsageError("host= is empty; expected 127.0.0.1, or 0.0.0.0 for everyone in the network")
        if self.background is not None:
            parse_colour(self.background)


def main(settings: Settings) -> int:
    from nas.export.folder import read
    from nas.export.prediction import Predictor
    from nas.serve.server import PredictionServer, is_loopback

    options = ServeOptions.of(settings)
    assert options.model is not None
    folder = read(Path(options.model).expanduser())
    space = partial(make_space, config_dir=settings.config_dir)
    predictor = Predictor(folder, space, options.background, options.threshold)
    with PredictionServer(predictor, options.host, options.port, options.top) as server:
        if not is_loopback(options.host):
            print(
                f"nas: warning: host={options.host}: whoever reaches this machine in its network can use the model, "
                "and pictures travel there unencrypted",
                file=sys.stderr,
            )
        print(f"Open {server.url} in a browser and drop pictures onto the page; Ctrl-C ends it.", flush=True)
        server.serve_forever()
    return 0
