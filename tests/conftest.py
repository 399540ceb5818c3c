"""Options and fixtures of the whole test suite."""

from __future__ import annotations

import pytest
from hypothesis import settings

# What is drawn is the same in every run: a suite that is green on one machine is green on the next.
settings.register_profile("same", derandomize=True, deadline=None)
settings.load_profile("same")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-fixtures", action="store_true", help="rewrite the 'after' texts of the pass fixtures")
    parser.addoption("--run-wheel", action="store_true", help="build the wheel and test what is in it")
