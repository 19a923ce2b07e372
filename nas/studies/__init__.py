"""Long, resumable jobs that span several searches or trainings: retraining, comparison, tabulation."""

from typing import TYPE_CHECKING

from nas.runtime.lazy import lazy_attributes

if TYPE_CHECKING:
    from nas.studies.comparison import compare as compare
    from nas.studies.retraining import retrain as retrain
    from nas.studies.tabulation import tabulate as tabulate

__getattr__ = lazy_attributes(
    __name__,
    {
        "comparison": ("compare",),
        "retraining": ("retrain",),
        "tabulation": ("tabulate",),
    },
)
