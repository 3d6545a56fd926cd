"""How commands begin."""

import os
import subprocess
import sys

import pytest

BEGIN = """
import os, sys
from vlif_plugin import cli
{before}
try:
    cli.main(["derain", "--help"])
except SystemExit:
    pass
print("torch" in sys.modules, os.environ.get("GOMP_SPINCOUNT"))
"""


@pytest.mark.parametrize(
    ("given", "before", "expected"),
    [
        ({}, "", "10000"),
        ({"GOMP_SPINCOUNT": "7"}, "", "7"),
        ({"OMP_WAIT_POLICY": "active"}, "", "None"),
        ({}, "import torch", "None"),  # too late, and not ours to change
    ],
)
def test_a_command_lets_threads_sleep_before_torch_is_there(given, before, expected):
    names = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    environment = {k: v for k, v in os.environ.items() if k not in names} | given
    done = subprocess.run(
        [sys.executable, "-c", BEGIN.format(before=before)],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == f"True {expected}"
