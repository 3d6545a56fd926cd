"""What a training does when something goes wrong: the second table of docs/reliability.md.

``python benchmarks/faults.py`` breaks something, starts the command as a user would, and prints its exit
status and the line that it says about it.
"""

from __future__ import annotations

import copy
import os
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from helpers import Malicious, small_options, write_options  # noqa: E402

Options = dict[str, Any]
SAYS = re.compile(r"error: |failed: |auto_resume: passing over |WARNING: ")


class Trial:
    """A finished run of four iterations in a folder of its own, and what a command said there.

    Args:
        folder: of the trial, which is made.
        finished: a folder with such a run, which is copied.
        opt: its options, with paths that are relative to the folder.
    """

    def __init__(self, folder: Path, finished: Path, opt: Options) -> None:
        shutil.copytree(finished, folder)
        self.folder = folder
        self.opt = copy.deepcopy(opt)
        self.opt["train"]["total_iter"] = 6
        self.run = folder / "experiments" / "small"

    def train(self, *flags: str, limit: int | None = None, processes: int = 1) -> tuple[int, str]:
        """Train with the options as they are, and give the exit status and what was said.

        Args:
            flags: of the command.
            limit: of the size of a file, which stands for a full disk.
            processes: that train together.
        """
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
        words = [*(launcher if processes > 1 else []), "-m", "vlif_plugin.train", "-opt"]
        return self.command(*words, write_options(self.folder, self.opt), *flags, limit=limit)

    def command(self, *words: str, limit: int | None = None) -> tuple[int, str]:
        """Run Python with some words in the folder."""
        done = subprocess.run(
            [sys.executable, *words],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=None if limit is None else lambda: small_disk(limit),
        )
        return done.returncode, done.stdout


def replaced(value: Any, old: str, new: str) -> Any:
    """Nested options with some text exchanged."""
    if isinstance(value, Mapping):
        return {key: replaced(item, old, new) for key, item in value.items()}
    if isinstance(value, list):
        return [replaced(item, old, new) for item in value]
    return value.replace(old, new) if isinstance(value, str) else value


def small_disk(limit: int) -> None:
    """Let no file of this process become larger."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def break_record(folder: Path, side: str) -> None:
    """Cut the end off an image in an LMDB."""
    import lmdb

    with (
        lmdb.open(str(folder / "train" / f"{side}.lmdb"), map_size=2**26) as env,
        env.begin(write=True) as transaction,
    ):
        transaction.put(b"001", transaction.get(b"001")[:-60])


def half_a_state(trial: Trial) -> tuple[int, str]:
    """Half of the newest training state is missing."""
    path = trial.run / "training_states" / "4.state"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return trial.train("--auto_resume")


def a_flipped_bit(trial: Trial) -> tuple[int, str]:
    """One bit of the newest weights is flipped."""
    flip(trial.run / "models" / "net_g_4.pth")
    return trial.train("--auto_resume")


def a_state_that_runs_code(trial: Trial) -> tuple[int, str]:
    """The newest state would run code when it is unpickled."""
    torch.save({"iter": 4, "x": Malicious()}, trial.run / "training_states" / "4.state")
    return trial.train("--auto_resume")


def a_full_disk(trial: Trial) -> tuple[int, str]:
    """The disk is full while a state is saved."""
    weights = (trial.run / "models" / "net_g_4.pth").stat().st_size
    return trial.train("--auto_resume", limit=weights + 20000)


def another_network(trial: Trial) -> tuple[int, str]:
    """Resumed with another network."""
    trial.opt["network_g"]["T"] = 3
    return trial.train("--auto_resume")


def other_images(trial: Trial) -> tuple[int, str]:
    """Resumed with other images."""
    val = trial.opt["datasets"]["val"]
    trial.opt["datasets"]["train"] |= {key: val[key] for key in ("dataroot_lq", "dataroot_gt")}
    return trial.train("--auto_resume")


def another_rate(trial: Trial) -> tuple[int, str]:
    """Resumed with another learning rate."""
    trial.opt["train"]["optim_g"]["lr"] = 5e-4
    return trial.train("--auto_resume")


def two_at_once(trial: Trial) -> tuple[int, str]:
    """A second training is started in the same folder."""
    trial.opt["train"]["total_iter"] = 10**6
    trial.opt["train"]["scheduler"]["periods"] = [10**6]
    words = ["-m", "vlif_plugin.train", "-opt", write_options(trial.folder, trial.opt)]
    first = subprocess.Popen(
        [sys.executable, *words, "--auto_resume"],
        cwd=trial.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not (trial.run / "training_states" / "6.state").exists():
            time.sleep(0.1)
        return trial.train("--auto_resume")
    finally:
        first.kill()
        first.wait()


def a_damaged_image(trial: Trial) -> tuple[int, str]:
    """An image of the training set is damaged."""
    trial.opt["train"]["total_iter"] = 12
    break_record(trial.folder, "input")
    return trial.train()


def damaged_images(trial: Trial) -> tuple[int, str]:
    """The same with `skip_bad: 0`."""
    trial.opt["train"]["total_iter"] = 12
    trial.opt["datasets"]["train"]["skip_bad"] = 0
    break_record(trial.folder, "input")
    return trial.train()


def checked_images(trial: Trial) -> tuple[int, str]:
    """The same with `check_images: true`."""
    trial.opt["datasets"]["train"]["check_images"] = True
    break_record(trial.folder, "input")
    return trial.train()


def an_explosion(trial: Trial) -> tuple[int, str]:
    """The loss becomes NaN (learning rate of 1e30)."""
    trial.opt["train"]["optim_g"]["lr"] = 1e30
    return trial.train("--auto_resume")


def a_dead_worker(trial: Trial) -> tuple[int, str]:
    """One of two processes is killed."""
    trial.opt["train"]["total_iter"] = 10**6
    trial.opt["train"]["scheduler"]["periods"] = [10**6]
    trial.opt["datasets"]["train"]["batch_size_per_gpu"] = 1
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    words = [*launcher, "-m", "vlif_plugin.train"]
    with tempfile.TemporaryFile("w+") as output:
        job = subprocess.Popen(
            [sys.executable, *words, "-opt", write_options(trial.folder, trial.opt)],
            cwd=trial.folder, stdout=output, stderr=subprocess.STDOUT, env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        while not (trial.run / "training_states" / "8.state").exists():
            time.sleep(0.1)
        children = Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()
        os.kill(int(children[1]), signal.SIGKILL)
        status = job.wait()
    states = sorted((trial.run / "training_states").glob("*.state"), key=lambda p: int(p.stem))
    trial.opt["train"]["total_iter"] = int(states[-1].stem) + 2
    again, said = trial.train("--auto_resume", processes=2)
    assert again == 0, said[-2000:]
    resumed = next(line for line in said.splitlines() if "resuming" in line)
    return status, f"error: (the job ends; started again:) {resumed}"


def weights_that_run_code(trial: Trial) -> tuple[int, str]:
    """Weights would run code when they are unpickled."""
    torch.save({"params": Malicious()}, trial.folder / "w.pth")
    trial.opt["path"]["pretrain_network_g"] = str(trial.folder / "w.pth")
    return trial.train()


def an_absurd_image(trial: Trial) -> tuple[int, str]:
    """A PNG of 90 bytes declares 60000x60000 pixels."""
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n"
    for kind, body in ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(9999))), (b"IEND", b"")):
        checksum = struct.pack(">I", zlib.crc32(kind + body))
        content += struct.pack(">I", len(body)) + kind + body + checksum
    (trial.folder / "a.png").write_bytes(content)
    weights = str(trial.run / "models" / "net_g_4.pth")
    return trial.command("-m", "vlif_plugin.cli", "derain", "a.png", "-o", "out", "-w", weights)


def aliases(trial: Trial) -> tuple[int, str]:
    """A YAML file of 500 bytes stands for a thousand million values."""
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    (trial.folder / "bomb.yml").write_text("\n".join(lines))
    return trial.command("-m", "vlif_plugin.train", "-opt", "bomb.yml")


def a_bomb(trial: Trial) -> tuple[int, str]:
    """An archive of 1 MB expands to 1 GB."""
    with zipfile.ZipFile(trial.folder / "rain.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for side in ("rain", "norain"):
            archive.writestr(f"{side}/1.bmp", b"BM" + bytes(2**29))
    return trial.command("-m", "vlif_plugin.cli", "prepare", "Rain200H", "--source", "rain.zip")


def an_escape(trial: Trial) -> tuple[int, str]:
    """A file in an archive is called `../../escaped.txt`; it is nowhere afterwards."""
    with zipfile.ZipFile(trial.folder / "rain.zip", "w") as archive:
        archive.writestr("../../escaped.txt", b"here I am")
    status, said = trial.command(
        "-m", "vlif_plugin.cli", "prepare", "Rain200H", "--source", "rain.zip"
    )
    assert not list(trial.folder.parent.rglob("escaped.txt"))
    return status, said


FAULTS: tuple[Callable[[Trial], tuple[int, str]], ...] = (
    half_a_state, a_flipped_bit, a_state_that_runs_code, a_full_disk, another_network, other_images,
    another_rate, two_at_once, a_damaged_image, damaged_images, checked_images, an_explosion, a_dead_worker,
    weights_that_run_code, an_absurd_image, aliases, a_bomb, an_escape,
)  # fmt: skip


def said_of_it(text: str, folder: Path) -> str:
    """The first error or else the first warning, without the folder and the date."""
    lines = [line for line in text.splitlines() if SAYS.search(line)]
    lines.sort(key=lambda line: ("error: " not in line, "failed: " not in line))
    line = re.sub(r"^.*?(WARNING|error|failed): ", "", lines[0]) if lines else "nothing"
    line = line.replace(f"{folder}/", "").replace("experiments/small/", "")
    return (line[:197] + "...") if len(line) > 200 else line


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as name:
        finished = Path(name).resolve() / "finished"
        finished.mkdir()
        opt = replaced(small_options(finished), f"{finished}/", "")
        subprocess.run(
            [sys.executable, "-m", "vlif_plugin.train", "-opt", write_options(finished, opt)],
            cwd=finished, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        print("| fault | exit status | what is said |\n| --- | ---: | --- |")
        for fault in FAULTS:
            folder = finished.parent / fault.__name__
            status, text = fault(Trial(folder, finished, opt))
            assert "Traceback" not in text, text[-3000:]
            assert "this ran when it was loaded" not in text
            print(
                f"| {str(fault.__doc__).rstrip('.')} | {status} | {said_of_it(text, folder)} |",
                flush=True,
            )
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
