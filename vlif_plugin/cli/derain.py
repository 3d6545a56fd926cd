"""`vlif derain`: restore images on disk."""

from __future__ import annotations

import argparse
import glob
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor
from tqdm import tqdm

from vlif_plugin.cli import weights
from vlif_plugin.data import IMAGE_SUFFIXES, load_image, save_image
from vlif_plugin.errors import DataError, OptionError, first_line, first_names
from vlif_plugin.inference import Progress, choose_device, parse_tile, restore_image
from vlif_plugin.speed import folded, keep_freed_memory, use_backend


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "inputs", nargs="+", metavar="INPUT", help="image, folder of images, or glob"
    )
    parser.add_argument(
        "-o",
        "--output",
        default="derained",
        metavar="OUT",
        help="folder for the results (default: derained)",
    )
    weights.add_arguments(parser, default="derain")
    parser.add_argument(
        "--tile",
        default="auto",
        help="auto (whole image if memory allows), none, official80, or a size in pixels (default: auto)",
    )
    parser.add_argument(
        "--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: auto)"
    )
    parser.add_argument(
        "--backend",
        default="torch",
        help="torch, compile (1.5 times as fast on CPUs, compiles for a minute the first time), triton (NVIDIA GPUs), "
        "or auto: the fastest that works (default: torch)",
    )
    parser.add_argument(
        "--bf16",
        action="store_true",
        help="compute in bfloat16: faster where the hardware has it, pictures differ by less than can be seen",
    )
    parser.add_argument("--suffix", default="", help="added to file names, before the extension")
    parser.add_argument(
        "--format",
        choices=[s[1:] for s in IMAGE_SUFFIXES],
        help="of the results (default: the input's)",
    )
    parser.add_argument(
        "--skip-existing", action="store_true", help="leave results alone that are there"
    )


def run(args: argparse.Namespace) -> int:
    """Restore every input; a file that fails is named at the end and sets the exit status."""
    tile = parse_tile(args.tile)
    device = choose_device(args.device)
    jobs = plan(args.inputs, Path(args.output), args.suffix, args.format)
    if args.skip_existing:
        jobs = {source: target for source, target in jobs.items() if not target.exists()}
    keep_freed_memory()
    net, _, _ = weights.load_network(args.weights, args.opt, args.param_key)
    net = folded(net).to(device)
    use_backend(net, args.backend, device)

    def restore(image: Tensor, progress: Progress) -> Tensor:
        return restore_image(
            net, image, tile=tile, device=device, bf16=args.bf16, progress=progress
        )

    failed = restore_files(jobs, restore)
    print(f"{len(jobs) - len(failed)} of {len(jobs)} images written to {args.output}")
    for source, reason in failed.items():
        print(
            f"failed: {reason if str(source) in reason else f'{source}: {reason}'}", file=sys.stderr
        )
    return 1 if failed else 0


def restore_files(
    jobs: Mapping[Path, Path], restore: Callable[[Tensor, Progress], Tensor]
) -> dict[Path, str]:
    """Restore files; while one is restored the next is read and the last is written.

    Grey, alpha and 16-bit images are written as they came.

    Args:
        jobs: where each result goes.
        restore: an image, (1, 3, H, W) in [0, 1], and whom to tell how far it is, to the result.

    Returns:
        Why files failed.
    """
    failed: dict[Path, str] = {}
    sources = list(jobs)
    layout = "{desc}{percentage:3.0f}%|{bar}| {elapsed}, {remaining} to go{postfix}"
    with (
        ThreadPoolExecutor(1) as reader,
        ThreadPoolExecutor(1) as writer,
        tqdm(total=len(jobs), dynamic_ncols=True, bar_format=layout) as bar,
    ):
        writing: tuple[Path, Future[None]] | None = None
        coming = reader.submit(load_image, sources[0]) if sources else None
        for place, source in enumerate(sources):
            bar.set_postfix_str(f"{source.name} ({place + 1} of {len(jobs)})")
            assert coming is not None
            reading = coming
            after = sources[place + 1 : place + 2]
            coming = reader.submit(load_image, after[0]) if after else None

            def tell(share: float, place: int = place) -> None:
                bar.update(place + share - bar.n)

            with _noted(source, failed):
                image = reading.result()
                result = restore(image.rgb, tell)
                if not result.isfinite().all():
                    raise DataError(
                        f"{source}: the network's result is not finite; are the weights whole?"
                    )
                _written(writing, failed)  # before the next: two images wait at most
                writing = source, writer.submit(save_image, image.restore(result), jobs[source])
            tell(1.0)
        _written(writing, failed)
    return {source: failed[source] for source in sources if source in failed}


def _written(writing: tuple[Path, Future[None]] | None, failed: dict[Path, str]) -> None:
    if writing is not None:
        with _noted(writing[0], failed):
            writing[1].result()


@contextmanager
def _noted(source: Path, failed: dict[Path, str]) -> Iterator[None]:
    """Let a file that fails fail alone."""
    try:
        yield
    except (DataError, RuntimeError, MemoryError) as error:  # out of memory is a RuntimeError
        failed[source] = first_line(error)


def plan(inputs: list[str], output: Path, suffix: str, extension: str | None) -> dict[Path, Path]:
    """Where each image goes, in order.

    Args:
        inputs: files, folders (their images, not those of their subfolders) and globs.
        output: folder of the results.
        suffix: added to the names.
        extension: of the results, without dot; None keeps each input's.

    Raises:
        DataError: an input is missing or empty, two results would have one name, or a result would
            overwrite an input.
    """
    if output.exists() and not output.is_dir():
        raise DataError(f"{output}: is a file; -o names a folder")
    if os.sep in suffix:
        raise OptionError(f"--suffix {suffix}: must be part of a file name")
    sources: dict[Path, None] = {}
    for item in inputs:
        found = _images_of(item)
        if not found:
            raise DataError(f"{item}: no such image, folder with images, or match")
        sources |= dict.fromkeys(found)
    jobs = {
        source: output / f"{source.stem}{suffix}{f'.{extension}' if extension else source.suffix}"
        for source in sources
    }
    counts = Counter(jobs.values())
    clashing = [str(source) for source, target in jobs.items() if counts[target] > 1]
    if clashing:
        raise DataError(f"several inputs would be written to one file: {first_names(clashing)}")
    own = {os.path.realpath(source) for source in sources}
    overwritten = [str(target) for target in jobs.values() if os.path.realpath(target) in own]
    if overwritten:
        raise DataError(
            f"results would overwrite inputs: {first_names(overwritten)}; use another -o or --suffix"
        )
    return jobs


def _images_of(item: str) -> list[Path]:
    try:
        return _find_images(item)
    except OSError as error:
        raise DataError(f"{item}: cannot be read ({error.strerror or error})") from error


def _find_images(item: str) -> list[Path]:
    path = Path(item)
    if path.is_dir():
        return sorted(
            f for f in path.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES and f.is_file()
        )
    if path.is_file():
        return [path]
    found = sorted(f for f in map(Path, glob.glob(item, recursive=True)) if f.is_file())
    return [f for f in found if f.suffix.lower() in IMAGE_SUFFIXES] or found
