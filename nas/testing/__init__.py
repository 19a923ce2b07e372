"""Conformance checks for spaces, strategies, evaluators, executors, stores and data sets, as functions for any test.

    from nas.testing import check_space
    def test_mine(): check_space(MySpace(), Task(channels=3, height=32, width=32, classes=10))

Each raises AssertionError with a sentence on what is wrong; `nas check` prints the same promises, one per line. The
project's own parts are found by globbing `configs/` and pass the same checks.
"""

from typing import TYPE_CHECKING

from nas.runtime.lazy import lazy_attributes

if TYPE_CHECKING:
    from nas.testing.checks import check_data as check_data
    from nas.testing.checks import check_evaluator as check_evaluator
    from nas.testing.checks import check_executor as check_executor
    from nas.testing.checks import check_gradient_strategy as check_gradient_strategy
    from nas.testing.checks import check_space as check_space
    from nas.testing.checks import check_store as check_store
    from nas.testing.checks import check_strategy as check_strategy
    from nas.testing.checks import check_supernet_space as check_supernet_space
    from nas.testing.promises import Promise as Promise
    from nas.testing.promises import hold as hold

__getattr__ = lazy_attributes(
    __name__,
    {
        "checks": (
            "check_data",
            "check_evaluator",
            "check_executor",
            "check_gradient_strategy",
            "check_space",
            "check_store",
            "check_strategy",
            "check_supernet_space",
        ),
        "promises": ("Promise", "hold"),
    },
)
