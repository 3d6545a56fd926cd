"""Metrics by name, scores of images by them, and the files that say what the scores rest on."""

from vlif_plugin.scoring.energy import ENERGY_METRICS
from vlif_plugin.scoring.metrics import LOWER_IS_BETTER, METRICS
from vlif_plugin.scoring.protocols import description, expand_protocols
from vlif_plugin.scoring.results import network_record, write_results
from vlif_plugin.scoring.scores import (
    Find,
    ImageScore,
    Metrics,
    NamedMetric,
    check_metrics,
    gather_scores,
    hash_pair,
    image_name,
    is_plain,
    mean_score,
    named_metrics,
    refuse_without_ground_truth,
    score_image,
    score_inputs,
    try_metrics,
)

__all__ = [
    "ENERGY_METRICS",
    "LOWER_IS_BETTER",
    "METRICS",
    "Find",
    "ImageScore",
    "Metrics",
    "NamedMetric",
    "check_metrics",
    "description",
    "expand_protocols",
    "gather_scores",
    "hash_pair",
    "image_name",
    "is_plain",
    "mean_score",
    "named_metrics",
    "network_record",
    "refuse_without_ground_truth",
    "score_image",
    "score_inputs",
    "try_metrics",
    "write_results",
]
