"""What is tried each night, and not with each change: further cases of a claim."""

import pytest


def further(cases, daily):
    """The cases as parameters, those that are not `daily` with the mark `nightly`; several
    parameters are a tuple.
    """
    return [case if case in daily else _at_night(case) for case in cases]


def _at_night(case):
    values = case if isinstance(case, tuple) else (case,)
    return pytest.param(*values, marks=pytest.mark.nightly)
