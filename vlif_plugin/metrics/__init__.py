"""Metrics. ``PROTOCOLS`` is the one list of PSNR/SSIM protocols that hosts and tests loop over."""

from vlif_plugin.metrics.image import PROTOCOLS, Protocol

__all__ = ["PROTOCOLS", "Protocol"]
