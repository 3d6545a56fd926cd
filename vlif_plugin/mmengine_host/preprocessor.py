"""From a collated batch of items to what the model is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from mmengine.structures import BaseDataElement
from torch import Tensor

from vlif_plugin.errors import DataError


class RestorationPreprocessor(BaseDataPreprocessor):
    """Stacks training patches on the device; leaves whole images alone, and on the CPU.

    Takes batches of :class:`~vlif_plugin.data.PairedRainDataset` and
    :class:`~vlif_plugin.data.SyntheticRainDataset`, from mmengine's ``pseudo_collate`` (lists) or
    ``default_collate`` (stacked). Values are neither scaled nor shifted: they are in [0, 1] already.
    """

    def forward(self, data: Mapping[str, Any], training: bool = False) -> dict[str, Any]:
        """Sort a batch.

        Args:
            data: ``lq``, perhaps ``gt``, each a tensor (B, 3, H, W) or a sequence of (3, H, W); and
                values of each image under other keys.
            training: patches of one size, or whole images.

        Returns:
            ``inputs``: in training (B, 3, H, W) on the model's device, else a list of (3, H, W)
            on the CPU, because large images go to the device tile by tile. ``data_samples``: one
            element an image with ``gt`` (3, H, W), and the other values as metainfo.

        Raises:
            DataError: no images, or training patches of different sizes.
        """
        if "lq" not in data:
            raise DataError(f"a batch has no lq (it has {', '.join(map(str, data))})")
        columns = {key: _of_each(values) for key, values in data.items()}
        images = columns.pop("lq")
        truths = columns.pop("gt", None)
        samples = [
            BaseDataElement(metainfo={key: values[i] for key, values in columns.items()})
            for i in range(len(images))
        ]
        if truths is not None:
            if training:
                truths = list(self._moved(truths))
            for sample, truth in zip(samples, truths, strict=True):
                sample.set_data({"gt": truth})
        inputs = self._moved(images) if training else images
        return {"inputs": inputs, "data_samples": samples}

    def _moved(self, images: Sequence[Tensor]) -> Tensor:
        """One tensor on the model's device."""
        if len({image.shape for image in images}) > 1:
            sizes = ", ".join(f"{image.shape[-2]}x{image.shape[-1]}" for image in images)
            raise DataError(f"training needs patches of one size, got {sizes}; give gt_size")
        return torch.stack(list(images)).to(self.device, non_blocking=bool(self._non_blocking))


def _of_each(values: Any) -> list[Any]:
    """A column of a batch, image by image; numbers as Python's."""
    if isinstance(values, Tensor) and values.dim() == 1:
        return values.tolist()
    return list(values)
