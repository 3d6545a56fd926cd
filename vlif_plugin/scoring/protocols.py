"""Scoring protocols by name in option files: ``val: protocols`` stands for many ``val: metrics``."""

from __future__ import annotations

from typing import Any

from vlif_plugin.errors import OptionError, near_names
from vlif_plugin.metrics import PROTOCOLS

_KINDS = ("psnr", "ssim")
_OTHERS = {
    "lpips": "RGB; LPIPS 0.1 of Zhang et al.'s package, backbone alex unless the options name another",
    "piqe": "grey; PIQE as MATLAB's piqe has it",
    "brisque": "grey; BRISQUE with the features and the regression of LIVE's release, not MATLAB's",
    "snn_energy": "energy of one image in uJ by the full count, memory traffic not in it",
    "snn_macs": "multiplications with accumulation of one image, by the full count",
    "snn_sops": "synaptic operations of one image, by the full count",
    "snn_firing_rate": "share of neuron updates with a spike, over all neurons",
}


def expand_protocols(val: dict[str, Any], section: str = "val") -> None:
    """Add PSNR and SSIM of each protocol that ``val`` names to its metrics.

    An entry of ``metrics`` that has the name already stays as it is.

    Args:
        val: the section; ``protocols`` is ``all`` or a list of names of ``PROTOCOLS``.
        section: what it is called in the options.

    Raises:
        OptionError: it is something else, or a name is unknown.
    """
    asked = val.get("protocols")
    if asked is None:
        return
    names = list(PROTOCOLS) if asked == "all" else asked
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise OptionError(f"{section}: protocols must be all or a list of names, got {asked!r}")
    for name in names:
        if name not in PROTOCOLS:
            raise OptionError(
                f"{section}: protocols: no protocol is called {name!r}{near_names(name, PROTOCOLS)}"
            )
    added = {f"{kind}_{name}": {"type": f"{kind}_{name}"} for name in names for kind in _KINDS}
    val["metrics"] = added | (val.get("metrics") or {})


def description(metric: str) -> str | None:
    """What a metric of ours compares and how, in one line; None for those of others.

    Args:
        metric: its name in ``METRICS``.
    """
    kind, _, name = metric.partition("_")
    if kind in _KINDS and name in PROTOCOLS:
        return PROTOCOLS[name].what
    return _OTHERS.get(metric)
