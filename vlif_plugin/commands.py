"""How a command ends: its exit status, and one line for what is the user's to mend."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from vlif_plugin.errors import PluginError, one_line


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
