"""What a run shows of its network while it goes on: firing rates, energy, pictures."""

from mmengine.hooks import Hook

from vlif_plugin.mmengine_host.hooks.energy import EnergyHook
from vlif_plugin.mmengine_host.hooks.firing_rate import FiringRateHook
from vlif_plugin.mmengine_host.hooks.pictures import PictureHook

HOOKS: dict[str, type[Hook]] = {
    hook.__name__: hook for hook in (FiringRateHook, EnergyHook, PictureHook)
}
"""Hooks by the names that configs give them."""

__all__ = ["HOOKS", "EnergyHook", "FiringRateHook", "PictureHook"]
