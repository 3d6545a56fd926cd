"""How a command begins and ends: its threads, its exit status, and one line for what is the user's to mend."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from vlif_plugin.errors import PluginError, one_line


def let_threads_sleep() -> None:
    """Let PyTorch's threads wait for each other asleep after some 50 microseconds of spinning.

    As it comes, libgomp spins for milliseconds. A thread that spins uses up its share of a core, so
    where another process works on one of two cores, each operator waits until the scheduler comes
    round, and a picture takes dozens of times as long. On an idle machine it takes as long as before.

    Must come before torch is imported. What the user has set stays.
    """
    if "torch" not in sys.modules and "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def exit_status(command: Callable[[], int | None]) -> int:
    """Run a command.

    Returns:
        What it returns, or 0; 1 after an error that was printed in one line; 130 after Ctrl-C.
    """
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # our errors name the file
    try:
        return command() or 0
    except PluginError as error:
        print(f"error: {one_line(error)}", file=sys.stderr, flush=True)  # noqa: T201
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)  # noqa: T201
        return 130
