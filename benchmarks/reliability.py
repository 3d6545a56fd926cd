"""What a training survives, and whether its memory grows: the figures of docs/reliability.md.

``python benchmarks/reliability.py [--kills 100] [--iterations 10000]`` kills trainings and preparations
at random moments and compares what they come to with runs that were left alone, then trains a
small network for many iterations and looks at the memory of the process.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
TRAINING = ROOT / "tests" / "basicsr_host" / "test_kills.py"
MMENGINE = ROOT / "tests" / "mmengine_host" / "test_kills.py"
PREPARING = ROOT / "tests" / "preparation" / "test_kills.py"
sys.path.insert(0, str(ROOT / "tests"))


def killing(path: Path, *words: object) -> dict[str, Any]:
    """Run one of the tests' killing scripts in an empty folder."""
    from killing import script

    with tempfile.TemporaryDirectory() as folder:
        return script(path, Path(folder), *words)


def kills(count: int) -> None:
    """Print a table of kills."""
    print(
        "| killed | kills | at random seconds, before a change to files, in half a file | largest difference |"
    )
    print("| --- | ---: | --- | ---: |")
    for what, path, changes in (
        ("BasicSR, data in the process", TRAINING, {}),
        ("BasicSR, two data workers", TRAINING, {"data": {"num_worker_per_gpu": 2}}),
        ("BasicSR, bf16, clipped, accumulated", TRAINING, {
            "train": {"amp": "bf16", "grad_clip": 0.01, "accumulate": 2},
        }),
        ("mmengine, data in the process", MMENGINE, {}),
        ("mmengine, two data workers", MMENGINE, {"train_dataloader.num_workers": 2}),
    ):  # fmt: skip
        found = killing(path, count, 7, json.dumps(changes))
        print(
            f"| training, {what} | {found['kills']} | {split(found)} | {found['largest_difference']:g} |",
            flush=True,
        )
    found = killing(PREPARING, count)
    equal = (
        "0" if found["equal"] == found["rounds"] else f"{found['rounds'] - found['equal']} differ"
    )
    print(f"| `vlif prepare` | {found['kills']} | {split(found)} | {equal} |", flush=True)


def split(found: dict[str, Any]) -> str:
    """How many kills there were of each kind."""
    return ", ".join(str(found["kinds"].get(kind, 0)) for kind in ("seconds", "change", "half"))


def resident(pid: int) -> float:
    """MiB of memory that a process holds."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def memory(iterations: int) -> None:
    """Print the memory of a training in its course."""
    from helpers import small_options, write_options

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        opt = small_options(folder)
        opt["network_g"] |= {"T": 1, "dim": 8}
        opt["datasets"]["train"] |= {"gt_size": 16, "batch_size_per_gpu": 1}
        opt["train"] |= {"total_iter": iterations, "ema_decay": 0.9}
        opt["train"]["scheduler"]["periods"] = [iterations]
        opt["val"] |= {"val_freq": 500, "save_best": "psnr_y"}
        opt["logger"] |= {"save_checkpoint_freq": 500, "keep_states": 2}
        command = [sys.executable, "-m", "vlif_plugin.train", "-opt", write_options(folder, opt)]
        log = folder / "experiments" / "small" / "metrics.jsonl"
        with (
            tempfile.TemporaryFile("w+") as output,
            subprocess.Popen(command, cwd=folder, stdout=output, stderr=output) as process,
        ):
            wanted = [1, iterations // 100, iterations // 10, iterations // 2, iterations]
            print("| iteration | resident MiB |\n| ---: | ---: |")
            while wanted and process.poll() is None:
                if last_iteration(log) >= wanted[0]:
                    print(f"| {wanted.pop(0):,d} | {resident(process.pid):.0f} |", flush=True)
                time.sleep(0.02)
            if process.wait():
                output.seek(0)
                raise SystemExit(output.read()[-3000:])


def last_iteration(log: Path) -> int:
    """The iteration that was logged last."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, file.seek(0, 2) - 4000))
            lines = [line for line in file.read().splitlines() if line.endswith(b"}")]
        return json.loads(lines[-1])["iter"] if lines else 0
    except (OSError, ValueError):
        return 0


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="of each kind of job")
    parser.add_argument("--iterations", type=int, default=10000, help="of the long training")
    args = parser.parse_args()
    if args.kills:
        kills(args.kills)
        print()
    if args.iterations:
        memory(args.iterations)


if __name__ == "__main__":
    main()
