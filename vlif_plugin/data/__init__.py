"""Images in, tensors out: reading, pairing, patches, LMDB, synthetic rain."""

from vlif_plugin.data.datasets import DATASETS, PairedRainDataset, SyntheticRainDataset
from vlif_plugin.data.fingerprint import fingerprint, pixel_hash, sampled_fingerprint
from vlif_plugin.data.image_io import (
    IMAGE_SUFFIXES,
    LoadedImage,
    decode_colour,
    load_image,
    save_image,
    to_bytes,
    to_tensor,
    write_atomically,
)
from vlif_plugin.data.lmdb_writer import LmdbWriter, encode_record, why_not_written, write_lmdb
from vlif_plugin.data.paired_images import PairedImages
from vlif_plugin.data.pairing import Pair, check_sizes, pair_images
from vlif_plugin.data.photographs import RAINY_PHOTOGRAPH, photograph, rainy_photograph
from vlif_plugin.data.sources import FolderSource, ImageSource, LmdbSource, open_source
from vlif_plugin.data.streaks import StreakLayers
from vlif_plugin.data.synthetic_images import SyntheticRainImages
from vlif_plugin.data.synthetic_rain import RainLayer, add_rain, sample_layers
from vlif_plugin.data.whole_check import check_pixels

__all__ = [
    "DATASETS",
    "IMAGE_SUFFIXES",
    "RAINY_PHOTOGRAPH",
    "FolderSource",
    "ImageSource",
    "LmdbSource",
    "LmdbWriter",
    "LoadedImage",
    "Pair",
    "PairedImages",
    "PairedRainDataset",
    "RainLayer",
    "StreakLayers",
    "SyntheticRainDataset",
    "SyntheticRainImages",
    "add_rain",
    "check_pixels",
    "check_sizes",
    "decode_colour",
    "encode_record",
    "fingerprint",
    "load_image",
    "open_source",
    "pair_images",
    "photograph",
    "pixel_hash",
    "rainy_photograph",
    "sample_layers",
    "sampled_fingerprint",
    "save_image",
    "to_bytes",
    "to_tensor",
    "why_not_written",
    "write_atomically",
    "write_lmdb",
]
