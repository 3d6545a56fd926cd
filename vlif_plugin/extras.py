"""Libraries that only one feature needs: imported where it is used, and named where they are missing."""

from __future__ import annotations

import importlib
import warnings
from types import ModuleType

from vlif_plugin.errors import OptionError


def extra_module(module: str, extra: str, what: str) -> ModuleType:
    """Import a library of an extra of this package.

    Args:
        module: full name.
        extra: that it comes with.
        what: it is needed for, to begin the message with.

    Raises:
        OptionError: it is not installed; says how to install it.
    """
    try:
        with warnings.catch_warnings():
            # of what libraries import: nothing that a user can mend
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    except ImportError as error:
        raise OptionError(
            f"{what} comes with the extra '{extra}', which is not installed ({error}); "
            f'pip install "vlif_plugin[{extra}]", or pip install -e ".[{extra}]" in a clone'
        ) from error
