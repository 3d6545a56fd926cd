import gc
import logging
import os

import pytest
import torch

LONGEST = (
    "test_kills", "test_processes", "test_runs", "test_compare", "test_study", "test_host", "test_resume",
    "test_backends",
)  # fmt: skip


def pytest_collection_modifyitems(items):
    """Files that take longest come first, so that no process is left with one of them at the end."""
    items.sort(key=lambda item: item.path.stem not in LONGEST)


def pytest_collection_finish(session):
    """What is there by now stays: Python need not look through a million objects again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
    alone = "PYTEST_XDIST_WORKER" not in os.environ
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 2 if alone else 1)))


@pytest.fixture
def fresh_basicsr(monkeypatch, tmp_path):
    """Run BasicSR in an empty folder, its process-wide logger as in a new process."""
    from basicsr.utils import logger as basicsr_logger

    from vlif_plugin.basicsr_host import register_all

    register_all()
    monkeypatch.chdir(tmp_path)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    basicsr_logger.initialized_logger.clear()
    log = logging.getLogger("basicsr")
    log.handlers.clear()
    yield tmp_path
    for handler in log.handlers:
        handler.close()
    log.handlers.clear()
    basicsr_logger.initialized_logger.clear()
