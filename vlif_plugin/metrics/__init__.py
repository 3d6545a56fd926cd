"""Metrics of RGB images.

``PROTOCOLS`` is the one list of PSNR/SSIM protocols that hosts and tests loop over; ``lpips`` compares
two images by a network's features; ``piqe`` and ``brisque`` judge one image without a reference.
"""

from vlif_plugin.metrics._brisque import brisque
from vlif_plugin.metrics._lpips import lpips
from vlif_plugin.metrics._piqe import piqe
from vlif_plugin.metrics.image import PROTOCOLS, Protocol

__all__ = ["PROTOCOLS", "Protocol", "brisque", "lpips", "piqe"]
