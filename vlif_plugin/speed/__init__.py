"""How fast a network runs, and nothing about what it computes."""

from vlif_plugin.speed.backends import Backend, named_backend, use_backend
from vlif_plugin.speed.folding import folded

__all__ = ["Backend", "folded", "named_backend", "use_backend"]
