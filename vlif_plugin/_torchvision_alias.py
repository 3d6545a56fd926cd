"""Make BasicSR 1.4.2 importable beside torchvision >= 0.17.

BasicSR imports ``torchvision.transforms.functional_tensor``, which is gone; what it wants from there
lives in ``torchvision.transforms.functional``. The finder stands last in line, so it is asked only
where the module does not exist, and nothing is imported or changed before.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType

_GONE = "torchvision.transforms.functional_tensor"
_NOW = "torchvision.transforms.functional"


class _AliasLoader(Loader):
    def exec_module(self, module: ModuleType) -> None:
        present = importlib.import_module(_NOW)
        module.__dict__.update({k: v for k, v in vars(present).items() if not k.startswith("__")})


class _AliasFinder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return spec_from_loader(fullname, _AliasLoader()) if fullname == _GONE else None


def install() -> None:
    """Add the finder once."""
    if not any(isinstance(finder, _AliasFinder) for finder in sys.meta_path):
        sys.meta_path.append(_AliasFinder())
