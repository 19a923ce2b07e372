"""Score an architecture by looking it up in a benchmark table, at the benchmark's own simulated cost.

The protocol of NAS-Bench-201 (Dong & Yang, ICLR 2020, section 5): a search sees one cheap metric and pays for each
query what the benchmark's training took; it never sees the reported metrics.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from nas.core import Architecture, Context, Metrics, Proposal
from nas.data.lock import check_unlocked
from nas.errors import UsageError
from nas.space.base import SearchSpace
from nas.tables.table import Rows, Table

SIMULATED_SECONDS = "simulated_seconds"


class TableEvaluator:
    """Looks up every query, repeated ones included; each costs its simulated seconds.

    Metrics of a trial: the table's search metric, and `simulated_seconds` if the table has a cost. A proposal that a
    table of a sample lacks is a failed trial without a cost.

    Args:
        space: Space to search; must be the space of the table.
        table: Table to look up.
    """

    answers_every_query = True

    def __init__(self, space: SearchSpace, table: Table) -> None:
        if table is None:
            raise UsageError("evaluator=table needs a table; set table= to one of the options of nas search --help")
        self.space = space
        self.table = table
        self._read: Rows | None = None

    def prepare(self, device: str) -> None:
        """Read the table.

        Raises:
            UserError: It is missing, damaged, or of another space.
        """
        _ = self.rows

    @property
    def rows(self) -> Rows:
        """The table, read when it is first needed."""
        if self._read is None:
            self._read = self.table.of(self.space)
        return self._read

    def protocol(self) -> Mapping[str, Any]:
        """The table by its content, and which columns a search sees."""
        table = self.table
        return {
            "table": self.rows.digest,
            "metric": table.metric,
            "column": table.column,
            "scale": table.scale,
            "cost": table.cost,
            "cost_scale": table.cost_scale,
        }

    def __call__(self, proposal: Proposal, context: Context) -> Metrics:
        rows = self._read or self.rows
        position = rows.position(proposal.architecture)
        metrics = {self.table.metric: rows.values[position]}
        if rows.costs is not None:
            metrics[SIMULATED_SECONDS] = rows.costs[position]
        return metrics

    def reported(self, architecture: Architecture) -> Metrics:
        """The reported columns of an architecture, in the table's units, for after a search; empty if it has no row.

        Raises:
            TestSetLocked: A search is running.
        """
        check_unlocked(f"the reported columns of {self.table.file}")
        rows = self.rows
        if not rows.has(architecture):
            return {}
        position = rows.position(architecture)
        return {name: float(values[position]) for name, values in rows.reported.items()}

    def optimum(self, column: str) -> float:
        """The best value of a reported column over the whole table; of a sample, the best that can be found in it.

        Raises:
            TestSetLocked: A search is running.
        """
        check_unlocked(f"the reported columns of {self.table.file}")
        low, high = self.rows.best[column]
        return low if column in self.table.minimized else high

    def direction(self, column: str) -> Literal["maximize", "minimize"]:
        """Whether higher or lower values of a reported column are better."""
        return "minimize" if column in self.table.minimized else "maximize"

    def label(self, column: str) -> str:
        """The label of a reported column, with its unit."""
        return self.table.labels.get(column, column)

    def __getstate__(self) -> dict[str, Any]:
        """Without the rows: each process reads its own."""
        return self.__dict__ | {"_read": None}
