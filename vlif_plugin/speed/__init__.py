"""How fast a network runs, and nothing about what it computes."""

from vlif_plugin.speed.backends import Backend, use_backend
from vlif_plugin.speed.folding import folded

__all__ = ["Backend", "folded", "use_backend"]
