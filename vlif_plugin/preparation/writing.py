"""Plans become LMDBs: one pair after the other, in parts that survive an interruption."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import lmdb

from vlif_plugin import __version__
from vlif_plugin.data import LmdbSource, LmdbWriter, why_not_written
from vlif_plugin.errors import DataError, first_names
from vlif_plugin.files import file_hash, remove_partial_files, written_whole
from vlif_plugin.preparation.manifest import (
    FORMAT,
    NAME,
    SPLITS,
    Manifest,
    Record,
    Scenes,
    mean_psnr,
    sides_of,
)
from vlif_plugin.preparation.pairs import ReadyPair, make_ready
from vlif_plugin.preparation.plan import Plan, PlannedPair
from vlif_plugin.preparation.tree import SourceFile, sha256

Progress = Callable[[Iterable[PlannedPair], int, str], Iterable[PlannedPair]]
_JOURNAL = "journal.jsonl"
_BATCH_BYTES = 2**25  # of PNG in one transaction
_THREADS = min(4, os.cpu_count() or 1)  # OpenCV decodes and encodes without the interpreter's lock


def write_plan(plan: Plan, out: Path, progress: Progress) -> list[Manifest]:
    """Write each split of a plan to ``out/<split>/{input,target}.lmdb`` with its manifest.

    A split is built in ``out/.<split>.partial`` and takes its name when it is complete; after an
    interruption or an error what is there is gone on from. Splits that are there already from the
    same files stay.

    Args:
        plan: what to write.
        out: the dataset's folder, made if missing.
        progress: wraps the pairs of a split: pairs, how many, name.

    Returns:
        The manifests of the plan's splits.

    Raises:
        DataError: pairs fail a check, a split of other files is in the way, another run is at work
            there, or writing failed.
    """
    made: list[Manifest] = []
    with _alone(out):
        for part in sorted(plan.splits):  # test before train, whose scenes must not be in it
            others = Scenes(_other_records(out, part))
            made.append(_SplitWriter(plan, part, out, others).write(progress))
    return made


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Hold the dataset's folder; the system lets go of it however the process ends."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        handle = os.open(out, os.O_RDONLY)
    except OSError as error:
        raise DataError(f"{out}: cannot be written ({error.strerror or error})") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DataError(f"{out}: another vlif prepare is at work there; wait for it") from error
        yield
    finally:
        os.close(handle)
        with suppress(OSError):
            out.rmdir()  # where nothing came of it


def _other_records(out: Path, part: str) -> list[Record]:
    """Records of the splits beside one, whether made now or earlier."""
    folders = [out / other for other in SPLITS if other != part and (out / other / NAME).exists()]
    return [record for folder in folders for record in Manifest.read(folder).records]


class _SplitWriter:
    def __init__(self, plan: Plan, part: str, out: Path, others: Scenes) -> None:
        self.plan = plan
        self.part = part
        self.pairs = plan.splits[part]
        self.final = out / part
        self.partial = out / f".{part}.partial"
        self.others = others
        self.skipped = list(plan.skipped.get(part, ()))
        self.notes: list[str] = []
        self.sides = sides_of(self.pairs[0])

    def write(self, progress: Progress) -> Manifest:
        if self.final.exists():
            return self._existing()
        try:
            done = self._resume()
            records, problems = self._fill(done, progress)
            if problems and not (self.plan.skip_bad and records):
                raise DataError(
                    f"{self.part}: {len(problems)} of {len(self.pairs)} pairs cannot be used: "
                    f"{first_names(problems)}; --skip-bad leaves such pairs out. The rest is kept in "
                    f"{self.partial} for the next run"
                )
            self.skipped += problems
            if self.skipped:
                self.notes.append(
                    f"{self.part}: {len(self.skipped)} left out: {first_names(self.skipped)} (all are in the manifest)"
                )
            return self._finish(records)
        except (OSError, lmdb.Error) as error:
            reason = why_not_written(error, self.partial)
            raise DataError(
                f"{self.final}: {reason}; run the same command again to go on from {self.partial}"
            ) from error

    def _existing(self) -> Manifest:
        """The split that is there, if it is of the same files."""
        manifest = Manifest.read(self.final)
        there = {_file_names(record) for record in manifest.records}
        wanted = {_planned_names(pair) for pair in self.pairs}
        if there == wanted or (manifest.skipped and there < wanted):
            for side in self.sides:
                LmdbSource(self.final / f"{side}.lmdb")
            left = f", {len(manifest.skipped)} bad ones left out" if manifest.skipped else ""
            self.plan.notes.append(
                f"{self.part}: {self.final} is there already{left}, from files of these names and sizes; --check "
                "compares it with its manifest"
            )
            return manifest
        raise DataError(
            f"{self.final}: holds {len(manifest.records)} pairs of other files ({manifest.dataset}, "
            f"{manifest.fingerprint}); remove it, or name another --out"
        )

    def _resume(self) -> dict[str, Record]:
        """Records of an interrupted run by key; of another plan's they are thrown away."""
        lenient = sorted(self.plan.lenient)
        head = json.dumps([FORMAT, __version__, self.plan.dataset, self.part, self.sides, lenient])
        journal = self.partial / _JOURNAL
        lines = journal.read_text(errors="replace").splitlines() if journal.is_file() else []
        if lines[:1] == [head]:
            found = [record for record in map(_parse, lines[1:]) if record is not None]
        else:
            found = []
            if self.partial.exists():
                shutil.rmtree(self.partial)
            self.partial.mkdir(parents=True)
        remove_partial_files(self.partial)
        # written anew, because a kill may have cut the last line short
        with written_whole(journal) as file:
            file.write("\n".join([head, *(record.line() for record in found), ""]).encode())
        return {record.key: record for record in found}

    def _fill(self, done: dict[str, Record], progress: Progress) -> tuple[list[Record], list[str]]:
        records: list[Record] = []
        problems: list[str] = []
        batch: list[ReadyPair] = []
        with ExitStack() as stack:
            pool = stack.enter_context(ThreadPoolExecutor(_THREADS))
            writers = {
                side: stack.enter_context(LmdbWriter(self.partial / f"{side}.lmdb"))
                for side in self.sides
            }
            journal = stack.enter_context(open(self.partial / _JOURNAL, "a"))

            def commit() -> None:
                for side, writer in writers.items():
                    writer.put({r.record.key: getattr(r, side) for r in batch}, overwrite=True)
                journal.writelines(ready.record.line() + "\n" for ready in batch)
                journal.flush()
                batch.clear()

            pairs = progress(
                self.pairs, len(self.pairs), f"{self.plan.named(self.part)} {self.part}"
            )
            for result in self._ready(pool, pairs, done):
                if isinstance(result, DataError):
                    problems.append(str(result))
                    continue
                record = result if isinstance(result, Record) else result.record
                twin = self.others.find(record.look) if record.target is not None else None
                if twin is not None and self.plan.recipe.disjoint:
                    where = record.target.file if record.target else record.key
                    problems.append(f"{where}: shows the scene of {twin} in another split")
                    continue
                records.append(record)
                if isinstance(result, ReadyPair):
                    batch.append(result)
                    if (
                        sum(len(r.input or b"") + len(r.target or b"") for r in batch)
                        > _BATCH_BYTES
                    ):
                        commit()
            commit()
            for writer in writers.values():
                writer.keep_only({record.key: record.size for record in records})
        return records, problems

    def _ready(
        self, pool: ThreadPoolExecutor, pairs: Iterable[PlannedPair], done: dict[str, Record]
    ) -> Iterator[ReadyPair | Record | DataError]:
        """Results in the order of the pairs; few are in memory at a time.

        Files are read here, one after the other: archives allow no other way.
        """
        waiting: deque[Future[ReadyPair | Record]] = deque()
        for pair in pairs:
            future: Future[ReadyPair | Record] = Future()
            try:
                contents = {file: file.read() for file in pair.files()}
                known = done.get(pair.key)
                if known is not None and _same_files(known, pair, contents):
                    future.set_result(known)
                else:
                    lenient = pair.origin in self.plan.lenient
                    future = pool.submit(
                        make_ready, pair, contents, self.plan.recipe, lenient=lenient
                    )
            except DataError as error:
                future.set_exception(error)
            waiting.append(future)
            if len(waiting) > 2 * _THREADS:
                yield _outcome(waiting.popleft())
        while waiting:
            yield _outcome(waiting.popleft())

    def _finish(self, records: list[Record]) -> Manifest:
        self._notice(records)
        manifest = Manifest(
            dataset=self.plan.named(self.part),
            split=self.part,
            expected=self.plan.expected(self.part),
            made_by=f"vlif_plugin {__version__}",
            source=self.plan.recipe.source,
            notes=(*self.plan.notes, *self.notes),
            skipped=tuple(self.skipped),
            databases={
                f"{side}.lmdb": file_hash(self.partial / f"{side}.lmdb" / "data.mdb")
                for side in self.sides
            },
            records=tuple(records),
        )
        manifest.write(self.partial)
        (self.partial / _JOURNAL).unlink()
        os.replace(self.partial, self.final)
        self.plan.notes.extend(self.notes)
        return manifest

    def _notice(self, records: list[Record]) -> None:
        """Repeated pictures, unusual rain, and scenes of other splits where there may be some."""
        side = self.sides[0]
        first: dict[str, str] = {}
        twice = []
        for record in records:
            key = first.setdefault(getattr(record, side).pixels, record.key)
            if key != record.key:
                twice.append(f"{key} and {record.key}")
        if twice:
            self.notes.append(
                f"{self.part}: {len(twice)} {side} images are equal: {first_names(twice)}"
            )
        psnr = mean_psnr(records)
        low, high = self.plan.recipe.input_psnr
        usual = psnr is None or low <= psnr <= high
        if not usual and self.plan.expected(self.part) is not None:
            self.notes.append(
                f"{self.part}: inputs of {psnr:.1f} dB are unusual for {self.plan.dataset}, which has {low:g} to "
                f"{high:g} dB; is it light rain taken for heavy, or the other way round?"
            )
        if "target" in self.sides and not self.plan.recipe.disjoint:
            shared = [r.key for r in records if self.others.find(r.look) is not None]
            if shared:
                self.notes.append(
                    f"{self.part}: {len(shared)} scenes are in another split too: {first_names(shared)}"
                )


def _outcome(future: Future[ReadyPair | Record]) -> ReadyPair | Record | DataError:
    try:
        return future.result()
    except DataError as error:
        return error


def _parse(line: str) -> Record | None:
    """A line of the journal; the last one may have been cut short by a kill."""
    try:
        return Record.parse(json.loads(line))
    except (ValueError, RecursionError):
        return None


def _file_names(record: Record) -> tuple[tuple[str, int, str] | None, ...]:
    return tuple(
        None if o is None else (o.file, o.bytes, o.side) for o in (record.input, record.target)
    )


def _planned_names(pair: PlannedPair) -> tuple[tuple[str, int, str] | None, ...]:
    return tuple(
        None if half is None else ("/".join(half.file.parts), half.file.size, half.side)
        for half in (pair.input, pair.target)
    )


def _same_files(record: Record, pair: PlannedPair, contents: dict[SourceFile, bytes]) -> bool:
    return _file_names(record) == _planned_names(pair) and all(
        origin is None or half is None or origin.sha256 == sha256(contents[half.file])
        for origin, half in ((record.input, pair.input), (record.target, pair.target))
    )
