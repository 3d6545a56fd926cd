"""`vlif prepare`, killed again and again, comes to the LMDBs that it would have made at once."""

import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from killing import killed, report, script, survive

FILE = Path(__file__)


def pairs(folder, count=40):
    for side in ("rain", "norain"):
        (folder / side).mkdir(parents=True)
    for number in range(1, count + 1):
        rng = np.random.default_rng(number)
        clean = cv2.resize(rng.integers(20, 140, (5, 7, 3)).astype(np.uint8), (160, 120))
        rainy = clean.copy()
        rainy[:, number % 5 :: 9] += 80
        cv2.imwrite(str(folder / "rain" / f"{number}.png"), rainy)
        cv2.imwrite(str(folder / "norain" / f"{number}.png"), clean)


def main(folder, kills, seed):
    """Kill the command; runs in a process of its own, which has imported everything once."""
    from vlif_plugin.cli import main as vlif
    from vlif_plugin.data import LmdbSource

    pairs(folder / "mine")
    out = folder / "out"
    sides = [str(folder / "mine" / side) for side in ("rain", "norain")]
    words = ["prepare", "mine", "--pairs", *sides, "--split", "train", "--out", str(out)]

    def outcome():
        (made,) = out.rglob("manifest.json")
        found = {"manifest": made.read_text()}
        for side in ("input", "target"):
            source = LmdbSource(made.parent / f"{side}.lmdb")
            found |= {f"{side} {key}": source.read(key).tobytes() for key in source.keys()}  # noqa: SIM118 (it is no mapping)
        assert not [p for p in out.rglob("*") if "partial" in p.name or p.name.endswith(".tmp")]
        return found

    killed(lambda: vlif(words), folder, None)
    expected = outcome()
    assert len(expected) == 81
    rounds = []

    def done():
        rounds.append(outcome() == expected)
        shutil.rmtree(out)

    shutil.rmtree(out)
    survived = survive(
        lambda: vlif(words), folder, kills=kills, seed=seed, longest=0.5, changes=12,
        kinds=("change", "seconds"), done=done,
    )  # fmt: skip
    report(survived, equal=sum(rounds))


def test_preparing_survives_being_killed_at_any_moment(tmp_path):
    result = script(FILE, tmp_path, 20)
    assert result["kills"] >= 20
    assert set(result["kinds"]) == {"change", "seconds"}
    assert result["equal"] == result["rounds"] > 0


@pytest.mark.slow
def test_preparing_survives_many_kills(tmp_path):
    result = script(FILE, tmp_path, 300)
    assert result["equal"] == result["rounds"]


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), seed=1)
