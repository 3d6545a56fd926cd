"""`vlif prepare`: a dataset as published, or images of one's own, to checked LMDBs."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vlif_plugin.errors import DataError, OptionError
from vlif_plugin.preparation import (
    NEIGHBOURS,
    OTHER,
    RECIPES,
    Manifest,
    Plan,
    Sources,
    own_pairs,
    own_photographs,
    recognise,
    verify,
    write_plan,
)

DEFAULT_ROOT = Path("datasets")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "name",
        nargs="?",
        help=f"{', '.join(RECIPES)}; or a name for images of your own",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--source",
        nargs="+",
        metavar="DIR",
        help="folders or archives (zip, tar, tar.gz) of the published dataset, in any known layout",
    )
    what.add_argument(
        "--pairs", nargs=2, metavar=("INPUT", "TARGET"), help="your own degraded and clean images"
    )
    what.add_argument("--clean", metavar="DIR", help="your own clean photographs, to rain on")
    what.add_argument(
        "--check",
        nargs="?",
        const="",
        metavar="DIR",
        help="decode what was prepared and compare it with its manifest",
    )
    parser.add_argument("--out", help="where to (default: datasets/NAME)")
    parser.add_argument(
        "--split", choices=("train", "test"), help="split of images whose folders do not say it"
    )
    parser.add_argument(
        "--allow",
        action="append",
        default=[],
        choices=(*NEIGHBOURS, *RECIPES, OTHER),
        metavar="NAME",
        help=f"take this neighbour for the dataset ({', '.join(NEIGHBOURS)}), or '{OTHER}': other counts, "
        "sizes, sides or scenes than the dataset's; can be repeated",
    )
    parser.add_argument(
        "--skip-bad", action="store_true", help="leave out pairs that fail a check, and list them"
    )


def run(args: argparse.Namespace) -> int:
    """Prepare or check, and say what was found."""
    if args.check is not None:
        return _check(args)
    if args.name is None:
        raise OptionError(f"a name is missing: one of {', '.join(RECIPES)}, or one of your own")
    try:
        with tempfile.TemporaryDirectory(prefix="vlif-prepare-") as scratch:
            _prepare(args, Path(scratch))
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on from what is done", file=sys.stderr)
        return 130
    return 0


def _prepare(args: argparse.Namespace, scratch: Path) -> None:
    roots = [*(args.source or []), *(args.pairs or []), *([args.clean] if args.clean else [])]
    with Sources(roots, scratch) as sources:
        plan = _plan(args, sources)
        out = Path(args.out) if args.out else DEFAULT_ROOT / plan.dataset
        found = ", ".join(f"{part} {len(pairs)}" for part, pairs in plan.splits.items())
        print(f"{plan.dataset}: {found} {_unit(plan)}")
        manifests = write_plan(plan, out, _progress)
    for note in dict.fromkeys([*sources.notes, *plan.notes]):
        print(f"note: {note}")
    for manifest in manifests:
        print(_summary(manifest, out / manifest.split))


def _plan(args: argparse.Namespace, sources: Sources) -> Plan:
    split, skip_bad = args.split or "train", args.skip_bad
    if args.pairs:
        inputs, targets = (sources.files_of(root) for root in sources.roots)
        lenient = OTHER in args.allow
        return own_pairs(
            args.name, inputs, targets, split=split, lenient=lenient, skip_bad=skip_bad
        )
    if args.clean:
        return own_photographs(args.name, sources.files(), split=split, skip_bad=skip_bad)
    return recognise(
        args.name, sources.files(), allow=args.allow, split=args.split, skip_bad=skip_bad
    )


def _check(args: argparse.Namespace) -> int:
    if not args.check and not args.name:
        raise OptionError("--check needs a folder, or a dataset's name before it")
    root = Path(args.check or args.out or DEFAULT_ROOT / args.name)
    for manifest in verify(root, _progress):
        if args.name is not None and args.name not in manifest.dataset.split("+"):
            raise DataError(f"{root}: holds {manifest.dataset}, not {args.name}")
        inside = root if root.name == manifest.split else root / manifest.split
        print(f"good: {_summary(manifest, inside)}")
    return 0


def _progress(items: Iterable[Any], total: int, what: str) -> Iterable[Any]:
    return tqdm(items, total=total, desc=what, unit="image", disable=None, mininterval=0.5)


def _unit(plan: Plan) -> str:
    first = next(iter(plan.splits.values()))[0]
    return "pairs" if first.input and first.target else "images"


def _summary(manifest: Manifest, folder: Path) -> str:
    records = manifest.records
    sides = manifest.sides
    sizes = Counter(f"{w}x{h}" for h, w in (record.size for record in records)).most_common()
    shown = ", ".join(f"{count} of {size}" for size, count in sizes[:3])
    shown += f", {len(sizes) - 3} other sizes" if len(sizes) > 3 else ""
    facts = [f"{len(records)} {'pairs' if len(sides) == 2 else 'images'}", shown]
    if "target" in sides:
        clean = {record.target.pixels for record in records if record.target}
        facts.append(f"{len(clean)} distinct clean images")
    if manifest.psnr_y is not None:
        facts.append(f"input {manifest.psnr_y:.2f} dB (PSNR, y_restormer)")
    lmdbs = "{" + ",".join(sides) + "}" if len(sides) > 1 else sides[0]
    return (
        f"{manifest.dataset} {manifest.split}: {'; '.join(facts)}\n"
        f"  {folder}/{lmdbs}.lmdb, fingerprint {manifest.fingerprint}"
    )
