"""Spiking neural networks for image restoration, inside BasicSR and mmengine.

Importing this package imports no toolbox; it only makes BasicSR 1.4.2 importable beside today's
torchvision. Networks are in :mod:`vlif_plugin.archs`, neurons in :mod:`vlif_plugin.neurons`.
"""

from vlif_plugin import _torchvision_alias

__version__ = "0.1.0"

_torchvision_alias.install()
