"""Findings about networks that can be trained, which are reported to the user once per search."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field

MIN_NETWORKS = 3
"""Networks of a search that must share a parameter without a gradient before it is reported: in a single one it may
belong to an operation that leads nowhere."""
MAX_NAMES = 4
"""Largest number of names that a sentence lists."""


@dataclass(frozen=True)
class Findings:
    """Findings about a network that can be trained, for the user.

    Args:
        without_gradient: Trainable parameters that keep their initial values.
        parameters: Number of trainable parameters.
        lost: Plain tensors, values and non-persistent buffers that training changes, that the logits depend on, and
            that no checkpoint holds.
        batch_dependent: Whether the logits of an image depend on the other images of its batch in evaluation mode.
        unregistered: Parameters that the logits depend on and that are not among those of the network.
        name: Its name in sentences, `network` or `supernet`.
    """

    without_gradient: tuple[str, ...] = ()
    parameters: int = 0
    lost: tuple[str, ...] = ()
    batch_dependent: bool = False
    unregistered: tuple[str, ...] = ()
    name: str = "network"

    def untrained(self) -> str:
        """The problem with the `unregistered` ones and its remedy; empty if there are none."""
        if not self.unregistered:
            return ""
        holders = dict.fromkeys(name.partition("[")[0] for name in self.unregistered)
        return (
            f"{listed(list(holders))} {'holds' if len(holders) == 1 else 'hold'} parameters that are not trained "
            f"({listed(self.unregistered)}), since torch finds parameters only in modules; use nn.ModuleList, "
            "nn.ModuleDict or nn.ParameterList instead of a plain list or dict"
        )


@dataclass
class FindingsReporter:
    """Warns, once each, of what the checks of many networks find.

    Args:
        trainings: Networks that must share a parameter without a gradient before it is reported.
    """

    trainings: int = MIN_NETWORKS
    _seen: int = 0
    _common: set[str] = field(default_factory=set)
    _reported: set[str] = field(default_factory=set)

    def add(self, findings: Findings) -> None:
        self._seen += 1
        names = set(findings.without_gradient)
        self._common = names if self._seen == 1 else self._common & names
        if self._common and self._seen >= self.trainings:
            common = [name for name in findings.without_gradient if name in self._common]
            self._warn(
                "gradient",
                f"no gradient reaches {len(common)} of {findings.parameters} parameters of the {findings.name}, so "
                f"training does not change {listed(common)}",
            )
        if findings.unregistered:
            refusal = "; nas retrain refuses the network" if findings.name == "network" else ""
            self._warn("unregistered", findings.untrained() + refusal)
        if findings.lost:
            self._warn(
                "lost",
                f"the network stores what it learns outside of its state_dict ({listed(findings.lost)}), so no "
                "checkpoint holds it, and nas retrain refuses the network; register buffers for it",
            )
        if findings.batch_dependent:
            self._warn(
                "batch",
                "in evaluation mode the network's logits of one image depend on the other images of its batch, so an "
                "accuracy depends on the order of the images; look for statistics or a softmax over the batch",
            )

    def _warn(self, topic: str, sentence: str) -> None:
        if topic not in self._reported:
            self._reported.add(topic)
            warnings.warn(sentence, stacklevel=2)


def listed(names: Sequence[str]) -> str:
    """The first names, and the number of others."""
    more = len(names) - MAX_NAMES
    return ", ".join(names[:MAX_NAMES]) + (f" and {more} more" if more > 0 else "")
