"""The plugin's registries, in the module where mmengine looks for them.

``dict(type='vlif_plugin.VLIFNet', …)`` in any config makes mmengine import this module and then
:mod:`vlif_plugin.mmengine_host`, which fills the registries: nothing else is needed in the config.
mmengine takes an error while this module is imported for "not in the registry", so it does nothing
that could fail; errors of the other module are shown as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import mmengine.registry as roots
from mmengine.registry import Registry

from vlif_plugin.errors import OptionError, near_names


class PluginRegistry(Registry):
    """A registry of the scope ``vlif_plugin`` that names the neighbours of a name it does not know."""

    fillers: ClassVar[list[Callable[[], None]]] = []
    """Take in what was added to the plugin's lists since; from where these are known."""

    def __init__(self, root: Registry) -> None:
        super().__init__(
            root.name, parent=root, scope="vlif_plugin", locations=["vlif_plugin.mmengine_host"]
        )

    def get(self, key: str) -> type | None:
        """Look a type up here, then in mmengine.

        Raises:
            OptionError: neither has it; near names are shown.
        """
        for fill in self.fillers:
            fill()
        found = super().get(key)
        name = key.removeprefix("vlif_plugin.")
        if found is None and "." not in name:  # mmengine goes on to import dotted paths
            known = {*self.module_dict, *(self.parent.module_dict if self.parent else ())}
            raise OptionError(
                f"no {self.name} of vlif_plugin is called {name!r}{near_names(name, known)}"
            )
        return found


MODELS = PluginRegistry(roots.MODELS)
DATASETS = PluginRegistry(roots.DATASETS)
METRICS = PluginRegistry(roots.METRICS)
HOOKS = PluginRegistry(roots.HOOKS)
