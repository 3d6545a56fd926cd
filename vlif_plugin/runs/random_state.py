"""The generators of a process: read, written, and lent out for a while."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from vlif_plugin.errors import CheckpointError


def random_state() -> dict[str, Any]:
    """States of the generators of Python, NumPy, torch and this process's GPU, of plain types and tensors."""
    numpy_state: Any = np.random.get_state(legacy=True)
    name, keys, *rest = numpy_state
    state = {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(keys.astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_random_state(state: Mapping[str, Any]) -> None:
    """Put generators back to where :func:`random_state` found them; a GPU's only where there is one.

    Raises:
        CheckpointError: it is no such state; the generators may have been changed.
    """
    try:
        version, words, gauss = state["python"]
        random.setstate((version, tuple(words), gauss))
        name, keys, *rest = state["numpy"]
        np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
        torch.set_rng_state(state["torch"])
        if "cuda" in state and torch.cuda.is_available():
            torch.cuda.set_rng_state(state["cuda"])
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise CheckpointError(f"its random state is damaged ({error})") from error


@contextmanager
def kept_random_state() -> Iterator[None]:
    """Leave the generators as they were, whatever the block draws."""
    before = random_state()
    try:
        yield
    finally:
        restore_random_state(before)


@contextmanager
def draws_of(seed: int) -> Iterator[None]:
    """Let the block's draws on the CPU depend on ``seed`` alone, and leave the generators as they were.

    Args:
        seed: at least 0.
    """
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed % 2**63)  # torch.manual_seed reaches for GPUs too
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])


def mixed_seed(*parts: int | str) -> int:
    """A seed from 0 to below 2**63 for a place in a run; places that differ share nothing."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def set_seeds(seed: int) -> None:
    """Seed the generators of Python, NumPy, torch and all GPUs.

    Args:
        seed: at least 0.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def be_deterministic() -> None:
    """Have torch take deterministic algorithms only; an operator that has none raises RuntimeError.

    Must come before the first use of a GPU: cuBLAS reads its setting once.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
