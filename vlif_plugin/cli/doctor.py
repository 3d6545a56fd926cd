"""`vlif doctor`: what is installed, what was repaired, and whether it runs."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import platform
import time
from collections.abc import Iterable

import torch

from vlif_plugin import __version__
from vlif_plugin.archs import ARCHS, VLIFNet
from vlif_plugin.inference.restorer import available_memory
from vlif_plugin.losses import SSIMLoss

PACKAGES = (
    "torch", "torchvision", "basicsr", "mmengine", "timm", "lpips", "numpy", "opencv-python", "lmdb", "spikingjelly",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments: none."""


def run(args: argparse.Namespace) -> int:
    """Print the report; exit status 1 when the trial run gives no finite gradient."""
    print(f"vlif_plugin {__version__}, Python {platform.python_version()}, {platform.platform()}")
    for package in PACKAGES:
        try:
            print(f"  {package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            print(f"  {package} not installed")
    print("devices")
    memory = available_memory(torch.device("cpu")) / 2**30
    print(
        f"  cpu: {os.cpu_count()} cores, {torch.get_num_threads()} threads, {memory:.1f} GiB free"
    )
    for index in range(torch.cuda.device_count()):
        free = torch.cuda.mem_get_info(index)[0] / 2**30
        print(f"  cuda:{index}: {torch.cuda.get_device_name(index)}, {free:.1f} GiB free")
    _report_repairs()
    return _try_network()


def _report_repairs() -> None:
    from vlif_plugin import basicsr_host, mmengine_host
    from vlif_plugin.basicsr_host.mends import MENDS as BASICSR
    from vlif_plugin.mmengine_host.mends import MENDS as MMENGINE

    basicsr_host.register_all()
    mmengine_host.register_all()
    print("repaired in BasicSR, in memory only")
    if importlib.util.find_spec("torchvision.transforms.functional_tensor").origin is None:  # pyright: ignore[reportOptionalMemberAccess]
        print("  torchvision.transforms.functional_tensor: gone from torchvision, aliased")
    _list(BASICSR)
    print("repaired in mmengine, in memory only")
    _list(MMENGINE)
    print(f"registered networks: {', '.join(ARCHS)}")


def _list(mends: Iterable[tuple[str, str, object, str]]) -> None:
    for owner, attribute, _, why in mends:
        print(f"  {owner}.{attribute}: {why}")


def _try_network() -> int:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    net, loss = VLIFNet(dim=16, en_num_blocks=(1, 1), de_num_blocks=(1, 1)).to(device), SSIMLoss()
    image = torch.rand(1, 3, 64, 64, device=device)
    start = time.perf_counter()
    loss(net(image), torch.rand_like(image)).backward()
    finite = all(p.grad is not None and bool(p.grad.isfinite().all()) for p in net.parameters())
    seconds = time.perf_counter() - start
    verdict = "finite" if finite else "NOT finite"
    print(f"trial run on {device}: forward and backward in {seconds:.2f} s, gradients {verdict}")
    return 0 if finite else 1
