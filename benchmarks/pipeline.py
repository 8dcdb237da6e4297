"""What the pipeline costs beside its work: starting a command, importing, planning, and finding nothing to do."""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

from measuring import Figure, in_turn

ROOT = Path(__file__).resolve().parents[1]
IMPORTS = {
    "pretrain": "pacavit.training.pretrain",
    "coco": "pacavit.training.coco",
    "ade20k": "pacavit.training.ade20k",
    "claims": "pacavit.claims.ledger",
}


def measure(rounds: int) -> list[Figure]:
    """In a fresh clone with a small miniature that has run, and at paper scale with three seeds."""
    sys.path.insert(0, str(ROOT / "tests"))
    from clones import small_clone, typed

    rounds = max(2, rounds // 2)
    with tempfile.TemporaryDirectory() as folder:
        clone = small_clone(Path(folder, "clone"))
        typed(clone, "snakemake", "--cores", "2")
        targets = clone / "params" / "paper" / "targets.yaml"
        text = targets.read_text()
        targets.write_text(text.replace("seeds: [42]", "seeds: [42, 43, 44]"))
        plan = ["snakemake", "-n", "--profile", "slurm"]
        planned = typed(clone, *plan)
        jobs = re.findall(r"^total +(\d+)$", planned.stdout + planned.stderr, re.MULTILINE)[-1]
        calls = {
            "pacavit --help": ["pacavit", "--help"],
            "snakemake, nothing to do": ["snakemake", "--cores", "2"],
            "dvc status, nothing to do": ["dvc", "status"],
            f"snakemake -n, paper scale, three seeds, {jobs} jobs": plan,
            "python and torch": [sys.executable, "-c", "import torch"],
        } | {
            f"python and what {stage} imports": [sys.executable, "-c", f"import {module}"]
            for stage, module in IMPORTS.items()
        }
        times = in_turn(
            {name: lambda words=words: typed(clone, *words) for name, words in calls.items()}, rounds
        )
    aims = {"pacavit --help": 0.3}
    return [Figure(name, values, "s", aims.get(name), at_most=True) for name, values in times.items()]
