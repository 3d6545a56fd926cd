"""Processes that begin with everything imported."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext


def sharing_imports(modules: Sequence[str]) -> ForkServerContext | None:
    """Begin a process that imports these modules and does nothing else, and is copied for each new one.

    A copy has neither threads nor locks of this process, which a fork of it may wait for in vain, and
    does not import for seconds what a spawned process would. It has the environment of this moment.

    Args:
        modules: by name. They come from where this process's own come; the working directory takes
            no part.

    Returns:
        How processes are to be begun; None where the system has no such way (Windows).
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return None
    from multiprocessing import forkserver  # there is none on Windows

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(modules))
    asked = {
        # else it imports from the working directory before all else, and not from where we do
        "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)),
        "PYTHONSAFEPATH": "1",
        # some imports ask whether there is CUDA, and the usual way to find out does not outlive a fork
        "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
    }
    before = {key: os.environ.pop(key, None) for key in asked}
    os.environ.update(asked)
    try:
        forkserver.ensure_running()
    finally:
        for key, value in before.items():
            del os.environ[key]
            if value is not None:
                os.environ[key] = value
    return context
