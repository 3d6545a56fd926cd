"""BatchNorm over the batches of all processes, on GPUs (NCCL) and CPUs (gloo).

:class:`torch.nn.SyncBatchNorm` refuses CPU tensors, and replaces modules by others of its own class.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F  # noqa: N812 (torch's own convention)
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm


def synchronise_batchnorm(net: nn.Module) -> nn.Module:
    """Let every BatchNorm of a network take its training statistics over all processes.

    Outputs, gradients and running statistics become those of one process with the joined batch; under
    DistributedDataParallel the gradients do, if the loss is a mean and the shares are equal. Shares may
    differ in batch size and image size. Each layer talks once in the forward and once in the backward
    pass, so all processes of the default group must run the network in training mode together. In eval
    mode, and where there is one process, it is plain BatchNorm.

    Args:
        net: changed in place, before or after it is wrapped; parameters, buffers, names, hooks and
            ``isinstance`` stay as they are. A :class:`torch.nn.SyncBatchNorm` is left as it is.

    Returns:
        The same network.
    """
    for module in net.modules():
        if isinstance(module, _BatchNorm) and not isinstance(
            module, (_Synchronised, nn.SyncBatchNorm)
        ):
            kind: Any = _synchronised(type(module))
            module.__class__ = kind
    return net


class _Synchronised(_BatchNorm):
    """The forward pass that classes of :func:`_synchronised` have in place of ``_BatchNorm``'s."""

    def forward(self, input: Tensor) -> Tensor:
        alone = not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1)
        if alone or not self.training:
            return super().forward(input)
        self._check_input_dim(input)
        with torch.no_grad():
            mean, variance, count = _joined_moments(input)
            self._track(mean, variance * count / (count - 1))
        result: Tensor = _Normalise.apply(  # pyright: ignore[reportAssignmentType]
            input, self.weight, self.bias, mean, variance, count, self.eps
        )
        return result

    def _track(self, mean: Tensor, variance: Tensor) -> None:
        batches, means, variances = self.num_batches_tracked, self.running_mean, self.running_var
        if not self.track_running_stats or batches is None or means is None or variances is None:
            return
        batches.add_(1)
        momentum = 1.0 / float(batches) if self.momentum is None else self.momentum
        means.lerp_(mean.to(means), momentum)
        variances.lerp_(variance.to(variances), momentum)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        # for pickles and copies: by its name alone the class would not be found
        _, _, *state = super().__reduce_ex__(max(protocol, 2))
        return (_blank, (type(self).__bases__[0],), *state)


# The class is exchanged, not the module: parameters, buffers, hooks and what else refers to the module
# stay, isinstance and state_dict too. The new class comes before the module's own, but _Synchronised
# after it and just before _BatchNorm: a subclass's forward runs, and finds ours by super().
@functools.cache
def _synchronised(plain: type[nn.Module]) -> type[nn.Module]:
    bases: tuple[Any, ...] = (plain, _Synchronised)
    return type(f"Synchronised{plain.__name__}", bases, {"__doc__": plain.__doc__})


def _blank(plain: type[nn.Module]) -> nn.Module:
    made = _synchronised(plain)
    return made.__new__(made)


def _joined_moments(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (C), biased variance (C) and number of values (1) of each channel over all processes.

    Deviations from each process's mean are squared, and joined as by Chan et al. (1979): the mean
    square minus the squared mean would lose a small variance beside a large mean.
    """
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    over, count = _but_channels(x), x.numel() // x.shape[1]
    share = 1 / max(count, 1)  # a process may have no images
    mean = x.sum(over) * share
    deviation = x - _per_channel(mean, x)
    left = deviation.sum(over) * share  # by rounding of the mean
    variance = deviation.square_().sum(over) * share - left.square()
    local = torch.cat([mean.double() + left, variance, x.new_full((1,), count)])
    gathered = [torch.empty_like(local) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, local)
    means, variances, counts = torch.stack(gathered).split([len(mean), len(mean), 1], dim=1)
    total = counts.sum(0)
    mean = (counts * means).sum(0) / total
    variance = (counts * (variances + (means - mean).square())).sum(0) / total
    return mean.to(x), variance.to(x), total.to(x)


class _Normalise(torch.autograd.Function):
    """BatchNorm by moments of all processes, which depend on the inputs of all."""

    @staticmethod
    def forward(
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        variance: Tensor,
        count: Tensor,
        eps: float,
    ) -> Tensor:
        """Normalise, in x's dtype."""
        scale, shift = (None if p is None else p.to(mean) for p in (weight, bias))
        return F.batch_norm(x, mean, variance, scale, shift, False, 0.0, eps)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep what the backward pass needs."""
        *tensors, ctx.eps = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] (once_differentiable's types)
        ctx: Any, grad: Tensor
    ) -> tuple[Tensor | None, ...]:
        """Gradients of this process's input; those of weight and bias are this process's part.

        With s = weight / sqrt(variance + eps) and d = x - mean, the input's is
        s * (grad - E[grad] - d * E[grad * d] / (variance + eps)), E over all processes.
        """
        x, weight, bias, mean, variance, count = ctx.saved_tensors
        over, precision = _but_channels(x), (variance + ctx.eps).reciprocal()
        deviation, wide = x - _per_channel(mean, x), grad.to(mean.dtype)
        sums = torch.stack([wide.sum(over), (wide * deviation).sum(over)])
        grad_bias, grad_weight = sums[0].clone(), sums[1] * precision.sqrt()
        grad_x = None
        if ctx.needs_input_grad[0]:
            dist.all_reduce(sums)
            scale = precision.sqrt() if weight is None else precision.sqrt() * weight
            shift, slope = -scale * sums / count
            deviation.mul_(_per_channel(slope * precision, x)).add_(_per_channel(shift, x))
            grad_x = deviation.addcmul_(wide, _per_channel(scale, x))
        return (
            grad_x,
            None if weight is None else grad_weight,
            None if bias is None else grad_bias,
            *[None] * 4,
        )


def _but_channels(x: Tensor) -> list[int]:
    return [0, *range(2, x.dim())]


def _per_channel(values: Tensor, x: Tensor) -> Tensor:
    return values.view(1, -1, *[1] * (x.dim() - 2))
