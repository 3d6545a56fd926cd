"""Training and testing: BasicSR's own pipelines, with the plugin registered."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence

from vlif_plugin.distributed import exit_status_of_all
from vlif_plugin.errors import PluginError, one_line

_USAGE = "usage: basicsr train.py -opt FILE [flags] | basicsr test.py -opt FILE [flags]"


def train(argv: Sequence[str] | None = None) -> int:
    """Run BasicSR's ``train_pipeline`` in the current folder.

    Args:
        argv: BasicSR's flags; None takes the command line's.

    Returns:
        Exit status: 0, or 1 after an error that was printed in one line.
    """
    return _run("train", argv)


def test(argv: Sequence[str] | None = None) -> int:
    """Run BasicSR's ``test_pipeline`` in the current folder; see :func:`train`."""
    return _run("test", argv)


def basicsr() -> int:
    """The ``basicsr`` command: ``basicsr train.py -opt FILE`` and ``basicsr test.py -opt FILE``."""
    command = os.path.basename(sys.argv[1]).removesuffix(".py") if len(sys.argv) > 1 else ""
    if command not in ("train", "test"):
        asked = sys.argv[1:2] in (["-h"], ["--help"])
        print(_USAGE, file=sys.stdout if asked else sys.stderr)
        return 0 if asked else 2
    return _run(command, sys.argv[2:])


def _run(command: str, argv: Sequence[str] | None) -> int:
    return exit_status_of_all(lambda: _pipeline(command, argv)())


def _pipeline(command: str, argv: Sequence[str] | None) -> Callable[[], None]:
    from vlif_plugin.basicsr_host.registration import register_all
    from vlif_plugin.speed import keep_freed_memory

    register_all()
    keep_freed_memory()
    # after the mends: these modules bind the functions that are mended
    import basicsr.test
    import basicsr.train

    if argv is not None:  # BasicSR reads, and copies into the run's folder, the process's arguments
        sys.argv = [f"basicsr {command}.py", *argv]
    pipeline = basicsr.train.train_pipeline if command == "train" else basicsr.test.test_pipeline
    return lambda: _logged(pipeline)


def _logged(pipeline: Callable[[str], None]) -> None:
    """Run, let the run's log say how it ended as well, and let go of its folder."""
    from vlif_plugin.runs import release_folders

    try:
        pipeline(os.getcwd())
    except PluginError as error:
        for handler in logging.getLogger("basicsr").handlers:
            if isinstance(handler, logging.FileHandler):
                record = logging.LogRecord(
                    "basicsr", logging.ERROR, "", 0, one_line(error), None, None
                )
                handler.handle(record)
        raise
    finally:
        release_folders()
