"""What lets a long training be trusted, in any toolbox: draws, states, records, its folder."""

from vlif_plugin.runs.folder import (
    RunFolder,
    hold_folder,
    put_aside,
    release_folder,
    release_folders,
)
from vlif_plugin.runs.log import METRICS, MetricLog, clear_measured
from vlif_plugin.runs.manifest import add_start, starts
from vlif_plugin.runs.order import Draw, TrainingItems, TrainingOrder
from vlif_plugin.runs.passed_over import SKIP_BAD, PassedOver
from vlif_plugin.runs.random_state import (
    be_deterministic,
    draws_of,
    kept_random_state,
    random_state,
    restore_random_state,
    set_seeds,
)
from vlif_plugin.runs.sameness import (
    changed_options,
    filled,
    refuse_other_images,
    refuse_other_network,
    refuse_other_optimizer,
)

__all__ = [
    "METRICS",
    "SKIP_BAD",
    "Draw",
    "MetricLog",
    "PassedOver",
    "RunFolder",
    "TrainingItems",
    "TrainingOrder",
    "add_start",
    "be_deterministic",
    "changed_options",
    "clear_measured",
    "draws_of",
    "filled",
    "hold_folder",
    "kept_random_state",
    "put_aside",
    "random_state",
    "refuse_other_images",
    "refuse_other_network",
    "refuse_other_optimizer",
    "release_folder",
    "release_folders",
    "restore_random_state",
    "set_seeds",
    "starts",
]
