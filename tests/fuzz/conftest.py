import pytest
from hostile import CASES, LARGE, memory_limit


@pytest.fixture(autouse=True)
def _little_memory():
    """A reader without bounds fails its test, and does not take the machine with it."""
    with memory_limit():
        yield


def pytest_terminal_summary(terminalreporter):
    if LARGE and CASES:
        terminalreporter.section("fuzzing: cases by target")
        for target, count in sorted(CASES.items()):
            terminalreporter.line(f"{count:>9,d}  {target}")
        terminalreporter.line(f"{sum(CASES.values()):>9,d}  all")
