"""VLIF inside BasicSR: registration, option files, model, dataset, and what BasicSR gets wrong.

``register_all()`` makes everything known to BasicSR; ``run.train`` and ``run.test`` are the commands.
"""

from vlif_plugin.basicsr_host.registration import register_all

__all__ = ["register_all"]
