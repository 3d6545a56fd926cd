"""How fast a network runs, and nothing about what it computes."""

from vlif_plugin.speed.allocation import keep_freed_memory
from vlif_plugin.speed.backends import Backend, named_backend, pick_backend, use_backend
from vlif_plugin.speed.folding import folded

__all__ = [
    "Backend",
    "folded",
    "keep_freed_memory",
    "named_backend",
    "pick_backend",
    "use_backend",
]
