"""What is wrong with a set of pictures, and whether its labels can be learned, before anything is trained."""

from typing import TYPE_CHECKING

from nas.runtime.lazy import lazy_attributes

if TYPE_CHECKING:
    from nas.inspection.features import Features as Features
    from nas.inspection.features import make_features as make_features
    from nas.inspection.finding import Finding as Finding
    from nas.inspection.fixing import write_cleaned as write_cleaned
    from nas.inspection.inspection import Inspection as Inspection
    from nas.inspection.inspection import inspect as inspect
    from nas.inspection.signal import Signal as Signal
    from nas.inspection.signal import measure_signal as measure_signal
    from nas.inspection.subject import Subject as Subject
    from nas.inspection.subject import subject_of as subject_of

__getattr__ = lazy_attributes(
    __name__,
    {
        "features": ("Features", "make_features"),
        "finding": ("Finding",),
        "fixing": ("write_cleaned",),
        "inspection": ("Inspection", "inspect"),
        "signal": ("Signal", "measure_signal"),
        "subject": ("Subject", "subject_of"),
    },
)
