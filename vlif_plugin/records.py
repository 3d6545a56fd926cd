"""What is written down of a run, a score or a comparison, in strict JSON."""

from __future__ import annotations

import importlib.metadata
import json
import math
import platform
from collections.abc import Mapping
from typing import Any

from vlif_plugin import __version__

# what images, networks and metrics go through; of OpenCV's wheels one is there
_PACKAGES = (
    "torch", "torchvision", "basicsr", "mmengine", "numpy", "scipy", "scikit-image", "pillow", "lpips",
    "opencv-python", "opencv-python-headless", "opencv-contrib-python",
)  # fmt: skip


def strict_json(record: Mapping[str, Any]) -> bytes:
    """A record as a file of strict JSON; see :func:`strict` for what JSON cannot say."""
    text = json.dumps(strict(record), indent=1, allow_nan=False, ensure_ascii=False)
    return f"{text}\n".encode()


def strict(value: Any) -> Any:
    """A value as JSON can say it: numbers that it has no word for, and YAML's dates, become strings.

    Names of files that are no Unicode get backslashes.
    """
    if isinstance(value, Mapping):
        return {encodable(str(key)): strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [strict(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return value if value is None or isinstance(value, int) else encodable(str(value))


def encodable(text: str) -> str:
    r"""Text that UTF-8 can hold: bytes of a file's name that are none stand in it as ``\\udce9``."""
    return text.encode("utf-8", "backslashreplace").decode()


def versions() -> dict[str, str]:
    """Versions of Python, this package, and what images, networks and metrics go through."""
    found = {"python": platform.python_version(), "vlif_plugin": __version__}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # it computed nothing then
            continue
    return found
