"""Random actions on a tiny project, each followed by `snakemake` or `dvc repro`, against a run from nothing.

    python benchmarks/actions.py --number 200 --seed 1

Prints each action with the jobs that ran after it, and ends with the first difference, or with the number of actions.
"""

import argparse
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "workflow")]

from random_actions import Actions, from_nothing  # noqa: E402
from repositories import build, create  # noqa: E402
from test_random_actions import kept  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--number", type=int, default=200, help="actions")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        checkout = create(Path(folder, "project"))
        build(checkout)
        actions = Actions(checkout, given.seed)
        for number in range(1, given.number + 1):
            action = actions.act()
            tool, ran = actions.run()
            print(f"{number:4} {action:10} {tool:10} ran {len(ran)}: {' '.join(sorted(ran))}", flush=True)
            expected = kept(from_nothing(checkout, Path(folder, "scratch")))
            found = checkout.results()
            if wrong := [path for path, digest in expected.items() if found.get(path) != digest]:
                sys.exit(f"other than a run from nothing: {', '.join(wrong)}")
            if again := checkout.snakemake() | checkout.dvc_repro():
                sys.exit(f"ran although nothing had changed: {', '.join(sorted(again))}")
    print(f"{given.number} actions: the results were always those of a run from nothing")


if __name__ == "__main__":
    main()
