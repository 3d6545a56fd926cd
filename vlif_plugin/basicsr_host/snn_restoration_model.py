"""The BasicSR model that trains, validates and tests spiking (and other) restoration networks."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from basicsr.utils.dist_util import master_only
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from vlif_plugin.archs import save_atomically
from vlif_plugin.basicsr_host.optimizers import build_optimizer
from vlif_plugin.basicsr_host.progressive import Progressive
from vlif_plugin.basicsr_host.resume import states_by_age
from vlif_plugin.basicsr_host.schedules import build_schedule
from vlif_plugin.basicsr_host.training_state import (
    lasting_options,
    resume,
    resume_draws,
    training_state,
)
from vlif_plugin.basicsr_host.validation import run_validation, validate_if_missing
from vlif_plugin.basicsr_host.weights import load_weights, weights_content
from vlif_plugin.errors import TrainingError, first_line
from vlif_plugin.inference import TileChoice, parse_tile, restore_image
from vlif_plugin.layers import AveragedStatistics, synchronise_batchnorm
from vlif_plugin.runs import METRICS, SKIP_BAD, MetricLog, PassedOver
from vlif_plugin.speed import use_backend

_LEAST_SCALE = 2.0**-14


class SNNRestorationModel(SRModel):
    """BasicSR's SRModel, with what restoration of whole images by spiking networks needs beyond it.

    Options under ``train`` that SRModel does not have: ``amp: bf16`` or ``fp16`` (autocast;
    membranes, SSIM and the loss stay in float32; for fp16 the loss is scaled), ``accumulate: N``
    (each batch goes through in N parts, the same images for each step in an N-th of the memory),
    ``grad_clip`` (largest gradient norm), ``sync_bn`` (BatchNorm statistics over all processes),
    ``progressive`` (patches and batches that change with the iterations), and any optimiser of
    timm. Under ``val``: ``tile`` (none, auto, official80, a size, or {size, overlap,
    window}) and ``save_best`` (the metric whose best weights are kept). Under ``logger``:
    ``keep_states`` (how many training states are kept; all without it). At the top: ``backend``
    (:func:`~vlif_plugin.speed.use_backend`; torch without it).
    """

    net_g: Any  # the network, perhaps wrapped for several devices
    lq: Any  # (B, 3, H, W), RGB in [0, 1]
    gt: Any  # the same, or None without ground truth
    output: Any  # the network's result for lq
    tiling: str  # how lq was tiled for it, in words
    metric_results: dict[str, float]
    best_metric_results: dict[str, Any]

    def __init__(self, opt: dict[str, Any]) -> None:
        self.tile: TileChoice = parse_tile((opt.get("val") or {}).get("tile"))
        self.last_state: Path | None = None
        self.validated: set[tuple[str, int | str]] = set()
        self.options = lasting_options(opt)
        if opt.get("deterministic"):  # BasicSR has set it the other way by now
            torch.backends.cudnn.benchmark = False
        super().__init__(opt)
        if "backend" in opt:
            taken = use_backend(self.get_bare_model(self.net_g), opt["backend"], self.device)
            if hasattr(self, "net_g_ema"):
                use_backend(self.net_g_ema, taken, self.device)
            get_root_logger().info(f"backend: {taken}")

    def init_training_settings(self) -> None:
        """Read the options that SRModel does not know, once, before it sets up the rest."""
        train = self.opt["train"]
        self.amp = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(train.get("amp"))
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.amp is torch.float16)
        self.parts = train.get("accumulate", 1)
        self.grad_clip = train.get("grad_clip")
        stages = train.get("progressive")
        self.progressive = None if stages is None else Progressive(**stages)
        self.stage: tuple[int, int] | None = None
        folder = Path(self.opt["path"]["experiments_root"])
        # a model that is built without a run around it has none
        logs = folder.is_dir() and self.opt["rank"] == 0
        self.log = MetricLog(folder / METRICS) if logs else None
        self.best_metric_results = {}
        self.drawn = 0
        section = self.opt.get("datasets", {}).get("train", {})
        self.bad = PassedOver(section.get("skip_bad", SKIP_BAD))
        super().init_training_settings()
        self.statistics: AveragedStatistics | None = None
        if self.ema_decay > 0:
            if self.opt["dist"] and train.get("sync_bn"):
                synchronise_batchnorm(self.net_g_ema)
            uses = (
                (self.opt.get("val") or {}).get("val_freq"),
                self.opt["logger"].get("save_checkpoint_freq"),
            )
            self.statistics = AveragedStatistics(
                self.net_g_ema,
                self.get_bare_model(self.net_g),
                [int(period) for period in uses if period is not None],
                int(train["total_iter"]),
            )

    def get_optimizer(
        self, optim_type: str, params: Iterable[Tensor], lr: float | None = None, **kwargs: Any
    ) -> Any:
        """Any optimiser of PyTorch or timm, by default at its own rate; SRModel knows Adam only."""
        rate = {} if lr is None else {"lr": lr}
        return build_optimizer({"type": optim_type, **rate, **kwargs}, params)

    def setup_schedulers(self) -> None:
        """Any schedule of ours; SRModel knows BasicSR's only."""
        options = self.opt["train"]["scheduler"]
        self.schedulers += [build_schedule(options, optimizer) for optimizer in self.optimizers]

    def model_to_device(self, net: nn.Module) -> nn.Module:
        """Distributed training works on CPUs too; SRModel always names a GPU."""
        if self.opt["dist"] and self.is_train and self.opt["train"].get("sync_bn"):
            net = synchronise_batchnorm(net)
        if not self.opt["dist"] or self.opt["num_gpu"] > 0:
            return super().model_to_device(net)
        return DistributedDataParallel(
            net.to(self.device),
            find_unused_parameters=self.opt.get("find_unused_parameters", False),
        )

    @master_only
    def print_network(self, net: nn.Module) -> None:
        """One line; the whole structure of a VLIF network is a thousand."""
        bare = self.get_bare_model(net)
        count = sum(p.numel() for p in bare.parameters())
        get_root_logger().info(f"Network: {type(bare).__name__}, with parameters: {count:,d}")

    def feed_data(self, data: dict[str, Any]) -> None:
        """Forget the ground truth of the batch before, and remember where this one came from.

        Raises:
            DataError: more images than ``skip_bad`` allows could not be read.
        """
        self.gt = None
        super().feed_data(data)
        self.paths = list(data.get("lq_path", []))
        if "position" in data:  # of this process's last image; the others are as far
            last = int(data["position"].max())
            self.drawn = last - self.opt["rank"] + self.opt["world_size"]
        self.bad.take(data.get("bad", ()), get_root_logger(), self._last_good)

    @property
    def _last_good(self) -> str:
        return f"last good state: {self.last_state or 'none saved yet'}"

    def optimize_parameters(self, current_iter: int) -> None:
        """One optimiser step: sum of the losses over the parts of the batch, clipped, averaged.

        Raises:
            TrainingError: loss or gradients are not finite; names the iteration, the images and the
                last good state.
        """
        self._take_stage(current_iter)
        self.optimizer_g.zero_grad()
        try:
            losses = self._backward(current_iter)
        except RuntimeError as error:
            if self.opt.get("deterministic") and "deterministic" in str(error):
                raise TrainingError(f"deterministic: true: {first_line(error)}") from error
            raise
        norm = self._step(current_iter)
        self.log_dict = self.reduce_loss_dict(losses) | {"grad_norm": norm}
        if self.statistics:
            self.statistics.keep(current_iter)
            self.model_ema(decay=self.ema_decay)
            self.statistics.gather(current_iter, self._run_averaged)
        if current_iter % self.opt["logger"]["print_freq"] == 0:
            self.bad.join(get_root_logger())
            if self.log:
                rates = self.get_current_learning_rate()
                self.log.write(current_iter, {"lr": rates[0]} | self.log_dict | self.bad.measured())

    def _run_averaged(self) -> None:
        """Give the averaged network the batch as the trained one had it."""
        for lq in self.lq.chunk(self.parts):
            with self._autocast():
                self.net_g_ema(lq)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.amp, enabled=self.amp is not None)

    def _backward(self, current_iter: int) -> OrderedDict[str, Tensor]:
        """Gradients of the whole batch, and its losses."""
        losses: OrderedDict[str, Tensor] = OrderedDict()
        lqs, gts = self.lq.chunk(self.parts), self.gt.chunk(self.parts)
        net = self.net_g
        for index, (lq, gt) in enumerate(zip(lqs, gts, strict=True)):
            share = len(lq) / len(self.lq)
            last = index == len(lqs) - 1
            alone = isinstance(net, DistributedDataParallel) and not last
            with net.no_sync() if alone else nullcontext():
                with self._autocast():
                    output = net(lq)
                self.output = output.to(torch.promote_types(output.dtype, torch.float32))
                parts = self._losses(self.output, gt)
                total = torch.stack([value.mean() for value in parts.values()]).sum() * share
                self._check_finite("loss", total.item(), current_iter)
                self.scaler.scale(total).backward()
            for name, value in parts.items():
                losses[name] = losses.get(name, 0) + value.detach() * share
        return losses

    def _step(self, current_iter: int) -> float:
        """Clip, step, and return the norm that the gradients had."""
        self.scaler.unscale_(self.optimizer_g)
        weights = [p for p in self.net_g.parameters() if p.grad is not None]
        total = nn.utils.get_total_norm([p.grad for p in weights if p.grad is not None])
        norm = total.item()
        if not self.scaler.is_enabled():
            self._check_finite("norm of the gradients", norm, current_iter)
        if self.grad_clip is not None:
            nn.utils.clip_grads_with_norm_(weights, self.grad_clip, total)
        self.scaler.step(self.optimizer_g)  # leaves a step out whose gradients are not finite
        self.scaler.update()
        if self.scaler.is_enabled() and self.scaler.get_scale() < _LEAST_SCALE:
            self._check_finite(
                "norm of the gradients, however the loss is scaled,", norm, current_iter
            )
        return norm

    def _take_stage(self, current_iter: int) -> None:
        """Cut the batch down to what the stage of progressive learning wants, and log its beginning."""
        if self.progressive is None:
            return
        kept, self.lq, self.gt = self.progressive.cut(current_iter, self.lq, self.gt)
        self.paths = [self.paths[index] for index in kept]
        if (stage := self.progressive.stage(current_iter)) != self.stage:
            self.stage = stage
            get_root_logger().info(
                f"Batches of {stage[0]} with patches of {stage[1]} from iteration {current_iter:,d}."
            )

    def _losses(self, output: Tensor, gt: Tensor) -> OrderedDict[str, Tensor]:
        losses: OrderedDict[str, Tensor] = OrderedDict()
        if self.cri_pix:
            losses["l_pix"] = self.cri_pix(output, gt)
        if self.cri_perceptual:
            perceptual, style = self.cri_perceptual(output, gt)
            losses |= {
                k: v for k, v in (("l_percep", perceptual), ("l_style", style)) if v is not None
            }
        return losses

    def _check_finite(self, what: str, value: float, current_iter: int) -> None:
        if math.isfinite(value):
            return
        raise TrainingError(
            f"the {what} is {value} at iteration {current_iter}; batch: {', '.join(self.paths)}; "
            f"{self._last_good}"
        )

    def model_ema(self, decay: float = 0.999) -> None:
        """Let the buffers follow too: SRModel leaves BatchNorm's statistics at 0 and 1.

        They do not fit averaged weights; before these are used, ``statistics`` replaces them.
        """
        super().model_ema(decay)
        ours = dict(self.get_bare_model(self.net_g).named_buffers())
        for name, buffer in self.net_g_ema.named_buffers():
            buffer.copy_(ours[name])

    @property
    def scored_net(self) -> nn.Module:
        """The network that is validated: the EMA copy where there is one."""
        return self.net_g_ema if hasattr(self, "net_g_ema") else self.get_bare_model(self.net_g)

    def test(self) -> None:
        """Restore ``self.lq`` whole or tiled with the EMA network where there is one.

        The network is left in the mode that it was in.
        """
        net = self.scored_net
        training = net.training
        net.eval()
        told: list[str] = []
        self.output = restore_image(
            net, self.lq, tile=self.tile, device=self.device, tell_tiling=told.append
        )
        self.tiling = told[0]
        net.train(training)

    def validation(
        self,
        dataloader: DataLoader[Any],
        current_iter: int | str,
        tb_logger: Any,
        save_img: bool = False,
    ) -> None:
        """Score a dataset; see :func:`~vlif_plugin.basicsr_host.validation.run_validation`.

        BasicSR validates once more after the last iteration, and counts past it by then; what has
        been scored with the same weights is not scored again.
        """
        if self.is_train and isinstance(current_iter, int):
            current_iter = min(current_iter, self.opt["train"]["total_iter"])
        key = (dataloader.dataset.opt["name"], current_iter)  # pyright: ignore[reportAttributeAccessIssue]
        if key not in self.validated:
            self._share_statistics()
            run_validation(self, dataloader, current_iter, tb_logger, save_img)
            self.validated = {(name, at) for name, at in self.validated if at == current_iter} | {
                key
            }

    def _share_statistics(self) -> None:
        """Give all processes rank 0's BatchNorm statistics, which are the ones that are saved."""
        if self.opt["dist"]:
            nets = [self.net_g, *([self.net_g_ema] if hasattr(self, "net_g_ema") else [])]
            for buffer in (b for net in nets for b in net.buffers()):
                torch.distributed.broadcast(buffer, src=0)

    def load_network(
        self, net: nn.Module, load_path: str, strict: bool = True, param_key: str | None = "params"
    ) -> None:
        """Load safely, released checkpoints included, and say what was loaded; by default all or nothing."""
        bare = self.get_bare_model(net)
        load_weights(bare, load_path, param_key, self.opt["network_g"], strict=strict)

    @master_only
    def save_network(
        self,
        net: nn.Module | list[nn.Module],
        net_label: str,
        current_iter: int | str,
        param_key: str | list[str] = "params",
        best: dict[str, Any] | None = None,
    ) -> None:
        """Save whole or not at all, with the network's options beside its weights."""
        nets = net if isinstance(net, list) else [net]
        keys = param_key if isinstance(param_key, list) else [param_key]
        label = "latest" if current_iter == -1 else current_iter
        bare = [self.get_bare_model(one) for one in nets]
        content = weights_content(bare, keys, net_label, self.opt["network_g"])
        if best is not None:
            content["best"] = best
        self._save(content, Path(self.opt["path"]["models"]) / f"{net_label}_{label}.pth")

    def save_training_state(self, epoch: int, current_iter: int) -> None:
        """Save all that a resumed run needs to give what this one would: whole or not at all.

        A disk that is full stops the run instead of being ignored. Every process takes part: each
        has random draws of its own.
        """
        if current_iter == -1:
            return
        state = training_state(self, epoch, current_iter)  # in all processes
        path = Path(self.opt["path"]["training_states"]) / f"{current_iter}.state"
        if self.opt["rank"] == 0:
            self._save(state, path)
            self._keep_states(current_iter)
        self.last_state = path  # in all processes: any may have to name it

    def _keep_states(self, newest: int) -> None:
        """Remove those that ``keep_states`` does not keep: of a run that is this far, its last."""
        keep = self.opt["logger"].get("keep_states")
        states = states_by_age(Path(self.opt["path"]["training_states"]))
        so_far = [path for path in states if int(path.stem) <= newest]
        for old in so_far[:-keep] if keep else ():
            old.unlink()

    def resume_training(self, resume_state: dict[str, Any]) -> None:
        """Go on with the state's optimisers, draws and best scores, under the options as they are now.

        SRModel restores the schedule of the old run, whatever the options say now. What was changed
        is logged, and what a killed run did not come to validate is validated.

        Raises:
            CheckpointError: the state is of another optimiser, or damaged.
        """
        self.last_state = Path(self.opt["path"]["resume_state"])
        resume(self, resume_state)
        # a killed run may have saved one, and not come to remove the oldest
        if self.opt["rank"] == 0:
            self._keep_states(resume_state["iter"])
        validate_if_missing(self, resume_state["iter"])
        resume_draws(self, resume_state)

    def _save(self, content: dict[str, Any], path: Path) -> None:
        try:
            save_atomically(content, path)
        except OSError as error:
            raise TrainingError(
                f"{path}: cannot be written ({error.strerror or error}); {self._last_good}"
            ) from error
