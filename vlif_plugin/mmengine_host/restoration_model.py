"""The model that trains, validates and tests restoration networks under mmengine's Runner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.logging import MessageHub, print_log
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from vlif_plugin import registry
from vlif_plugin.archs import find_weights, fitting_state
from vlif_plugin.building import build_from, call_for
from vlif_plugin.errors import OptionError, TrainingError, first_names
from vlif_plugin.inference import TileChoice, parse_tile, restore_image
from vlif_plugin.speed import named_backend, use_backend

_NET = "net_g."


class SNNRestorationModel(BaseModel):
    """A restoration network with its loss, as BasicSR's model of the same name has it.

    Weights of any origin load: mmengine's checkpoints, those of BasicSR, released ones, and bare
    state dicts of the network.

    Args:
        network_g: a network of any registry: ``type`` and its arguments.
        pixel_opt: the loss of result and ground truth, ``type`` and its arguments; may be left out
            of what is only tested.
        tile: how validation tiles whole images: ``none``, ``auto``, ``official80``, a size, or
            ``{size, overlap, window}``.
        strict_load_g: refuse weights that do not fit exactly; else what fits is loaded.
        backend: what runs the network's parts; see :func:`~vlif_plugin.speed.use_backend`.
        data_preprocessor: a section; :class:`RestorationPreprocessor` when left out.
        init_cfg: see mmengine.

    Raises:
        OptionError: a section asks for what there is not; names it.
    """

    def __init__(
        self,
        *,
        network_g: Mapping[str, Any],
        pixel_opt: Mapping[str, Any] | None = None,
        tile: object = None,
        strict_load_g: bool = True,
        backend: str = "torch",
        data_preprocessor: Mapping[str, Any] | nn.Module | None = None,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        preprocessor = data_preprocessor or {"type": "vlif_plugin.RestorationPreprocessor"}
        super().__init__(preprocessor, init_cfg)  # pyright: ignore[reportArgumentType]
        self.network_g = plain(network_g)
        self.net_g = _build(self.network_g, "network_g")
        self.cri_pix = None if pixel_opt is None else _build(plain(pixel_opt), "pixel_opt")
        self.tile_options = plain(tile)
        self.tile: TileChoice = call_for("tile", parse_tile, self.tile_options)
        self.strict_load_g = strict_load_g
        named_backend(backend)
        self.backend = backend

    def take_backend(self) -> str:
        """Let the backend run the network where it is now; returns which was taken.

        Raises:
            OptionError: there is no such backend, or it does not work there.
        """
        return use_backend(self.net_g, self.backend)

    def forward(
        self,
        inputs: Tensor | Sequence[Tensor],
        data_samples: Sequence[BaseDataElement] | None = None,
        mode: str = "tensor",
    ) -> Any:
        """Run the network, in one of mmengine's modes.

        Args:
            inputs: RGB in [0, 1]. ``tensor`` and ``loss``: (B, 3, H, W) on the network's device;
                ``predict``: images of any size, (3, H, W) each, on any device.
            data_samples: one an image; with ``gt`` of its shape for ``loss``.
            mode: which.

        Returns:
            ``tensor``: the network's result, (B, 3, H, W). ``loss``: ``{'loss_pix': scalar}``.
            ``predict``: the samples with ``lq`` and ``output`` (3, H, W) in [0, 1] put in, and
            ``tiling``, how it was tiled in words.

        Raises:
            TrainingError: the loss is not finite; names iteration and images.
            OptionError: ``loss`` without ``pixel_opt`` or ground truth.
        """
        if mode == "predict":
            samples = data_samples or [BaseDataElement() for _ in inputs]
            return [self._restore(image, s) for image, s in zip(inputs, samples, strict=True)]
        result = self.net_g(inputs)
        if mode == "tensor":
            return result
        if mode != "loss":
            raise OptionError(f"mode must be tensor, loss or predict, got {mode!r}")
        return {"loss_pix": self._loss(result, data_samples or [])}

    def _loss(self, result: Tensor, samples: Sequence[BaseDataElement]) -> Tensor:
        if self.cri_pix is None:
            raise OptionError("model: pixel_opt is missing: there is no loss to train with")
        if not samples or "gt" not in samples[0]:
            raise OptionError("the training dataset has no ground truth (dataroot_gt)")
        gt = torch.stack([sample.get("gt") for sample in samples])
        # losses of differences lose what bf16 cannot hold
        with torch.autocast(result.device.type, enabled=False):
            wide = result.to(torch.promote_types(result.dtype, torch.float32))
            loss = self.cri_pix(wide, gt).mean()
        if not torch.isfinite(loss):
            hub = MessageHub.get_current_instance()
            names = [str(sample.get("lq_path", "?")) for sample in samples]
            raise TrainingError(
                f"the loss is {loss.item()} at iteration {hub.get_info('iter', 0) + 1}; "
                f"batch: {', '.join(names)}; last checkpoint: {hub.get_info('last_ckpt', 'none')}"
            )
        return loss

    def _restore(self, image: Tensor, sample: BaseDataElement) -> BaseDataElement:
        device = next(self.net_g.parameters()).device
        told: list[str] = []
        output = restore_image(
            self.net_g, image[None], tile=self.tile, device=device, tell_tiling=told.append
        )
        sample.set_data({"lq": image, "output": output[0]})
        sample.set_metainfo({"tiling": told[0]})
        return sample

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Bring weights of any origin under our names first, and refuse those that do not fit.

        mmengine loads what fits, logs the rest and goes on with a network that is partly untrained.
        """
        given = {k.removeprefix(prefix): v for k, v in state_dict.items() if k.startswith(prefix)}
        own = any(name.startswith(_NET) for name in given)
        weights = {k: v for k, v in given.items() if k.startswith(_NET)} if own else given
        checkpoint = find_weights(weights, "load_from")
        if self.strict_load_g:
            state = fitting_state(self.net_g, checkpoint)
        else:
            ours = self.net_g.state_dict()
            state = {
                k: v for k, v in checkpoint.state.items() if k in ours and v.shape == ours[k].shape
            }
            left = first_names([k for k in ours if k not in state]) or "nothing"
            print_log(
                f"strict_load_g is False: {len(state)} of {len(ours)} tensors loaded; left: {left}",
                logger="current",
            )
        for name in weights:
            del state_dict[prefix + name]
        state_dict |= {f"{prefix}{_NET}{name}": value for name, value in state.items()}
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def plain(value: Any) -> Any:
    """A config's value in dictionaries and lists of Python's own, which any checkpoint can hold."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def _build(options: Mapping[str, Any], section: str) -> nn.Module:
    if not isinstance(options, Mapping) or not isinstance(options.get("type"), str):
        raise OptionError(f"{section} must be a section with a type, got {options!r}")
    built = call_for(section, registry.MODELS.get, options["type"])
    if built is None:
        raise OptionError(f"{section}: no model is called {options['type']!r}")
    return build_from(built, options, section)
