"""Whether benchmarks that were run again got worse: ratios beside those of the repository, never times.

    python benchmarks/check.py [--within 0.8]

Reads ``benchmarks/results`` as it is and as the last commit has it, and ends with a non-zero status if a ratio is
below a share of what it was. Machines differ: a ratio of memory traffic to arithmetic is another elsewhere.
"""

from __future__ import annotations

import argparse
import json
import subprocess

from common import RESULTS


def main() -> int:
    """Compare, print what changed, return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--within", type=float, default=0.8)
    args = parser.parse_args()
    worse = 0
    for path in sorted(RESULTS.glob("*.json")):
        shown = ["git", "show", f"HEAD:./{path.name}"]
        before = subprocess.run(shown, cwd=RESULTS, capture_output=True, text=True)
        if before.returncode:
            continue
        old, new = json.loads(before.stdout)["ratios"], json.loads(path.read_text())["ratios"]
        for name in old.keys() & new.keys():
            change = new[name] / old[name]
            bad = change < args.within
            worse += bad
            if bad or change > 1 / args.within:
                verdict = "WORSE" if bad else "better"
                print(f"{verdict}: {path.stem}: {name}: {old[name]:.2f} then, {new[name]:.2f} now")
    print(f"{worse} ratios got worse" if worse else "no ratio got worse")
    return 1 if worse else 0


if __name__ == "__main__":
    raise SystemExit(main())
