"""The tutorial runs, and prints what it says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "tutorial.md"
ITERATIONS = "iterations, batch = 800, 8"


def printed(tmp_path, iterations=None):
    text = PAGE.read_text()
    assert ITERATIONS in text
    if iterations:
        text = text.replace(ITERATIONS, f"iterations, batch = {iterations}, 2")
    page = tmp_path / "page.md"
    page.write_text(text)
    command = [sys.executable, str(PAGE.parent / "run_page.py"), str(page)]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for name in re.findall(r"\]\((tutorial/.*?)\)", text):
        assert (tmp_path / name).stat().st_size > 10_000
        assert (PAGE.parent / name).exists()
    return done.stdout


def said():
    """What stands below the page's blocks as their output."""
    parts = re.split(r"```(?:python)?\n", PAGE.read_text())[1:]
    return [
        part for part in parts if re.match(r"(LIF|NI|VLIF|rainy|clean |\d+ spiking|as if)", part)
    ]


def test_the_tutorial_runs_and_what_is_not_learned_is_as_it_says(tmp_path):
    out = printed(tmp_path, iterations=2)
    exact = [part for part in said() if part.startswith(("LIF", "NILIF"))]
    assert len(exact) == 4
    for part in exact:
        assert part in out
    assert "as if dense   0.306 GMAC" in out


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_minutes_of_training_derain_and_the_numbers_are_near_those_it_says(tmp_path):
    out = printed(tmp_path)
    rainy, derained = map(float, re.search(r"rainy (.*) dB, derained (.*) dB", out).groups())
    stated = re.search(r"\nrainy (.*) dB, derained (.*) dB", PAGE.read_text())
    assert rainy == float(stated[1])
    assert derained > rainy + 4
    assert abs(derained - float(stated[2])) < 1.5
