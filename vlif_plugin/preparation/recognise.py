"""From the files of a source to pairs: by the names of folders and files, never by position."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable

from vlif_plugin.errors import DataError, first_names
from vlif_plugin.preparation.naming import (
    Role,
    identity_of,
    plain,
    role_of_folder,
    split_of,
    variety_of,
)
from vlif_plugin.preparation.plan import Half, Plan, PlannedPair, key_of, merged
from vlif_plugin.preparation.recipes import NEIGHBOURS, RAIN100_CROP, Recipe, recipe_of
from vlif_plugin.preparation.selection import OTHER, choose
from vlif_plugin.preparation.sides import header_size, vote
from vlif_plugin.preparation.tree import SourceFile

LAYOUTS = "rain/norain, input/target, data/label, rainy/groundtruth, trainA/trainB, Inp/GTr, …"
Group = tuple[str, str, str]  # split, origin, variety


def recognise(
    name: str,
    files: list[SourceFile],
    *,
    allow: Collection[str] = (),
    split: str | None = None,
    skip_bad: bool = False,
) -> Plan:
    """Find the pairs of a dataset among the files of its sources.

    Args:
        name: the dataset's, of :data:`~vlif_plugin.preparation.recipes.RECIPES`.
        files: all files of the sources.
        allow: neighbours that may be taken for the dataset, and :data:`OTHER`.
        split: the split of what does not say its own, ``train`` or ``test``.
        skip_bad: leave out images without a partner instead of failing.

    Raises:
        DataError: the files are another dataset's or nobody's, pairs are incomplete, or the split
            is not clear; files are named.
    """
    recipe = recipe_of(name)
    notes: list[str] = []
    chosen = choose(name, recipe, files, allow, notes)
    origins = sorted({origin for _, origin in chosen} - {name})
    own = [name] if any(origin == name for _, origin in chosen) else []
    plan = Plan("+".join([*own, *origins]), recipe, notes=notes, lenient=frozenset(origins))
    plan.skip_bad = skip_bad
    if OTHER in allow:
        plan.lenient |= {name}
    if recipe.paired:
        groups = _group(recipe, chosen, split)
        for (part, origin, variety), members in sorted(groups.items()):
            prefix = "_".join(p for p in (origin if origin != name else "", variety) if p)
            pairs = _pairs_of(plan, part, origin, prefix, members)
            plan.splits.setdefault(part, []).extend(pairs)
        if not plan.splits.get("test") and plan.splits.get("val"):
            plan.splits["test"] = plan.splits.pop("val")
            notes.append("the split called val is prepared as test")
    else:
        plan.splits["test"] = _unpaired(recipe, chosen, notes)
    plan.splits = {part: sorted(p, key=lambda x: x.key) for part, p in plan.splits.items() if p}
    if not plan.splits:
        raise DataError(f"{name}: no pairs found ({LAYOUTS})")
    _check_counts(name, plan)
    return plan


def _group(
    recipe: Recipe, chosen: list[tuple[SourceFile, str]], split: str | None
) -> dict[Group, list[SourceFile]]:
    """Files by split, origin and variety."""
    groups: defaultdict[Group, list[SourceFile]] = defaultdict(list)
    unclear: defaultdict[tuple[str, str], list[SourceFile]] = defaultdict(list)
    for file, origin in chosen:
        folders = file.parts[:-1]
        variety = variety_of(folders, recipe.varieties) or ""
        variety = "scenes" if variety == "scene" else variety
        part = split_of(folders)
        if part is None:
            unclear[origin, variety].append(file)
        else:
            groups[part, origin, variety].append(file)
    for (origin, variety), members in unclear.items():
        part = split or _guess_split(recipe, members)
        groups[part, origin, variety].extend(members)
    return groups


def _guess_split(recipe: Recipe, files: list[SourceFile]) -> str:
    """The split of files that do not say it: the only one there is, or by the count."""
    if len(recipe.counts) == 1:
        return next(iter(recipe.counts))
    folders = {plain(folder) for file in files for folder in file.parts[:-1]}
    if folders & {"inp", "gtr", "gtra"}:  # EUVP's and FUnIE-GAN's names for test pairs
        return "test"
    for part, count in recipe.counts.items():
        extra = 1 if part in recipe.extra else 0
        if len(files) in (count, count + extra, 2 * count):
            return part
    raise DataError(
        f"{files[0].where}: nothing says whether these {len(files)} images are for training or "
        "testing; add --split train or --split test"
    )


def _pairs_of(
    plan: Plan, part: str, origin: str, prefix: str, files: list[SourceFile]
) -> list[PlannedPair]:
    """The pairs of one group."""
    inputs, targets, singles = _assign_roles(files)
    what = f"{part} {prefix}".strip()
    if inputs and targets:
        if singles:
            plan.notes.append(f"left out of {what}: {len(singles)} images without a side")
        return _by_identity(plan, part, origin, prefix, inputs, targets)
    if plan.recipe.side_by_side and not (inputs or targets):
        return _side_by_side(plan, part, origin, prefix, singles)
    if part == "val":
        plan.notes.append(f"left out: {len(files)} images of {what}, which have no ground truth")
        return []
    have = ", ".join(
        f"{len(members)} {side}"
        for side, members in (("rainy", inputs), ("clean", targets), ("of neither side", singles))
        if members
    )
    raise DataError(
        f"{what}: no pairs; by their folders these images are {have} ({files[0].where}, …); known folders: {LAYOUTS}"
    )


def _assign_roles(
    files: list[SourceFile],
) -> tuple[list[SourceFile], list[SourceFile], list[SourceFile]]:
    """Rainy files, clean files, and those of which neither folder nor name tells the side."""
    siblings: defaultdict[tuple[str, ...], set[str]] = defaultdict(set)
    kinds: defaultdict[tuple[str, ...], set[Role | None]] = defaultdict(set)
    for file in files:
        folders = file.parts[:-1]
        for depth, folder in enumerate(folders):
            siblings[folders[:depth]].add(plain(folder))
        identity = identity_of(file.stem)
        kinds[folders].add(identity.kind if identity else None)
    sides: defaultdict[Role | None, list[SourceFile]] = defaultdict(list)
    only_named: list[tuple[SourceFile, Role]] = []
    for file in files:
        folders = file.parts[:-1]
        identity = identity_of(file.stem)
        kind = identity.kind if identity else None
        role = kind if kinds[folders] >= {"input", "target"} else None
        role = role or _role_of_folders(folders, siblings)
        if role is None and kind is not None:
            only_named.append((file, kind))
        else:
            sides[role].append(file)
    # a name alone counts where the other side is known: side by side, too, files are called norain
    for file, kind in only_named:
        other: Role = "target" if kind == "input" else "input"
        sides[kind if sides[other] else None].append(file)
    return sides["input"], sides["target"], sides[None]


def _role_of_folders(
    folders: tuple[str, ...], siblings: dict[tuple[str, ...], set[str]]
) -> Role | None:
    for depth in reversed(range(len(folders))):
        role = role_of_folder(folders[depth], frozenset(siblings[folders[:depth]]))
        if role is not None:
            return role
    return None


def _by_identity(
    plan: Plan,
    part: str,
    origin: str,
    prefix: str,
    inputs: list[SourceFile],
    targets: list[SourceFile],
) -> list[PlannedPair]:
    what = f"{part} {prefix}".strip()
    rainy = merged([(_name(f), f) for f in inputs], f"{what} rainy", plan.notes)
    clean = merged([(_name(f), f) for f in targets], f"{what} clean", plan.notes)
    alone = [
        f.where
        for name, f in [*rainy.items(), *clean.items()]
        if not (name in rainy and name in clean)
    ]
    if alone and not plan.skip_bad:
        numbered = [name for name in rainy if re.fullmatch(r"\d+_\d+", name)]
        if numbered and {name.split("_")[0] for name in numbered} <= set(clean):
            raise DataError(
                f"{what}: several rainy images for each clean one ({rainy[numbered[0]].where}, …): this is DDN "
                f"(Rain14000), {NEIGHBOURS['DDN']}"
            )
        raise DataError(
            f"{what}: {len(alone)} of {len(rainy)} rainy and {len(clean)} clean images have no partner: "
            f"{first_names(alone)}"
        )
    plan.skipped.setdefault(part, []).extend(f"{where}: has no partner" for where in alone)
    pairs = [
        PlannedPair(_key(prefix, rainy[name]), Half(rainy[name]), Half(clean[name]), origin)
        for name in _without_extra(plan, part, what, [name for name in rainy if name in clean])
    ]
    if origin not in plan.lenient:
        _check_sizes(plan, what, pairs)
    return pairs


def _side_by_side(
    plan: Plan, part: str, origin: str, prefix: str, files: list[SourceFile]
) -> list[PlannedPair]:
    what = f"{part} {prefix}".strip()
    found = merged([(_name(f), f) for f in files], what, plan.notes)
    side = vote(list(found.values()), what, LAYOUTS)
    plan.notes.append(f"{what}: two halves in each file, the degraded one on the {side}")
    if plan.recipe.left == "input" and side == "right" and origin not in plan.lenient:
        raise DataError(
            f"{what}: the clean half is on the left ({files[0].where}, …), as in TestB of the same archive and in "
            f"Rain800; this dataset has it on the right; --allow {OTHER} takes it all the same"
        )
    other = "left" if side == "right" else "right"
    pairs = [
        PlannedPair(
            _key(prefix, found[name]), Half(found[name], side), Half(found[name], other), origin
        )
        for name in _without_extra(plan, part, what, found)
    ]
    if origin not in plan.lenient:
        _check_sizes(plan, what, pairs)
    return pairs


def _unpaired(
    recipe: Recipe, chosen: list[tuple[SourceFile, str]], notes: list[str]
) -> list[PlannedPair]:
    """Images without ground truth; what lies in a folder for it is left out."""
    inputs, targets, singles = _assign_roles([file for file, _ in chosen])
    if targets:
        notes.append(f"left out: {len(targets)} images called clean; real rain has no ground truth")
    files = inputs if inputs and targets else [*inputs, *singles]
    stems = Counter(_key("", file) for file in files)
    named = [
        (_key("", f) if stems[_key("", f)] == 1 else key_of("", f.parts[-1], None), f)
        for f in files
    ]
    origin = {file.where: name for file, name in chosen}
    found = merged(named, "real", notes)
    return [PlannedPair(key, Half(file), None, origin[file.where]) for key, file in found.items()]


def _name(file: SourceFile) -> str:
    identity = identity_of(file.stem)
    return file.stem if identity is None else identity.name


def _key(prefix: str, file: SourceFile) -> str:
    identity = identity_of(file.stem)
    return key_of(prefix, file.stem, identity.number if identity else None)


def _without_extra(plan: Plan, part: str, what: str, names: Iterable[str]) -> list[str]:
    """All names but the one that published copies hold beyond the paper's count."""
    names = list(names)
    extra = plan.recipe.extra.get(part)
    if extra in names and len(names) == plan.recipe.counts[part] + 1:
        plan.notes.append(
            f"{what}: {len(names)} images; number {extra} is left out, as in the mirrors"
        )
        names.remove(extra)
    return names


def _check_sizes(plan: Plan, what: str, pairs: list[PlannedPair]) -> None:
    """Refuse, on a sample, what has not the dataset's sizes; single odd pairs are found later."""
    if plan.recipe.sizes is None:
        return
    step = max(1, len(pairs) // 24)
    halves = [pair.input for pair in pairs[::step] if pair.input is not None]
    sizes = [size for size in map(header_size, halves) if size is not None]
    wrong = {size for size in sizes if size not in plan.recipe.sizes}
    if 2 * sum(size in wrong for size in sizes) > len(sizes):
        shown = ", ".join(f"{w}x{h}" for h, w in sorted(wrong))
        older = (
            " (this is how copies of the older Rain100H and Rain100L are cropped)"
            if wrong <= RAIN100_CROP
            else ""
        )
        raise DataError(
            f"{what}: images of {shown} pixels{older}, but {plan.dataset} has 481x321 and 321x481 only "
            f"({halves[0].file.where}, …); --allow {OTHER} takes them all the same"
        )


def _check_counts(name: str, plan: Plan) -> None:
    """Compare with the paper: fewer pairs are a part of the dataset, more are something else."""
    for part, pairs in plan.splits.items():
        expected = plan.recipe.counts.get(part)
        own = sum(pair.origin == name for pair in pairs)
        if expected is None or own in (0, expected):
            continue
        if own > expected and name not in plan.lenient and plan.recipe.exact:
            raise DataError(
                f"{part}: {own} pairs, but {name} has {expected}: this is something else, or more than it; "
                f"--allow {OTHER} takes them all the same"
            )
        plan.notes.append(
            f"{part}: {own} {'pairs' if plan.recipe.paired else 'images'}, the paper has {expected}"
        )
