"""The only place that builds a path.

Every path is relative to the project's root, which is the current folder of all commands. The constants
are patterns in the syntax that :meth:`str.format` and Snakemake's wildcards share.
"""

from __future__ import annotations

from pathlib import Path

PARAMS = "params/{scale}/{page}.yaml"

ARCHIVE = "data/{scale}/archives/{dataset}/{file}"
PREPARED = "data/{scale}/{dataset}"

PRETRAINED = "checkpoints/{scale}/pretrain/{variant}/seed{seed}.safetensors"
DETECTOR = "checkpoints/{scale}/coco/{variant}/seed{seed}.safetensors"
SEGMENTOR = "checkpoints/{scale}/ade20k/{variant}/{head}/seed{seed}.safetensors"

RELEASED = "checkpoints/{scale}/released/{dataset}/{variant}.safetensors"
RELEASED_SEGMENTOR = "checkpoints/{scale}/released/{dataset}/{variant}/{head}.safetensors"

PRETRAIN_CURVE = "reports/{scale}/curves/pretrain/{variant}/seed{seed}.csv"
DETECTOR_CURVE = "reports/{scale}/curves/coco/{variant}/seed{seed}.csv"
SEGMENTOR_CURVE = "reports/{scale}/curves/ade20k/{variant}/{head}/seed{seed}.csv"

IMAGENET_METRICS = "reports/{scale}/metrics/imagenet/{variant}/seed{seed}.json"
COCO_METRICS = "reports/{scale}/metrics/coco/{variant}/seed{seed}.json"
ADE20K_METRICS = "reports/{scale}/metrics/ade20k/{variant}/{head}/seed{seed}.json"

RELEASED_IMAGENET_METRICS = "reports/{scale}/metrics/released/imagenet/{variant}.json"
RELEASED_COCO_METRICS = "reports/{scale}/metrics/released/coco/{variant}.json"
RELEASED_ADE20K_METRICS = "reports/{scale}/metrics/released/ade20k/{variant}/{head}.json"

IMAGENET_PREDICTIONS = "predictions/{scale}/imagenet/{variant}/seed{seed}.npz"
COCO_PREDICTIONS = "predictions/{scale}/coco/{variant}/seed{seed}.json"
ADE20K_PREDICTIONS = "predictions/{scale}/ade20k/{variant}/{head}/seed{seed}.npz"

RELEASED_IMAGENET_PREDICTIONS = "predictions/{scale}/released/imagenet/{variant}.npz"
RELEASED_COCO_PREDICTIONS = "predictions/{scale}/released/coco/{variant}.json"
RELEASED_ADE20K_PREDICTIONS = "predictions/{scale}/released/ade20k/{variant}/{head}.npz"

IMAGENET_FIGURE = "reports/{scale}/figures/imagenet/{variant}/seed{seed}/{file}"
COCO_FIGURE = "reports/{scale}/figures/coco/{variant}/seed{seed}/{file}"
ADE20K_FIGURE = "reports/{scale}/figures/ade20k/{variant}/{head}/seed{seed}/{file}"

CLUSTERS = "reports/{scale}/clusters/{variant}/{head}/seed{seed}.json"
OVERVIEW = "reports/{scale}/overview/{file}"

PUBLISHED = "claims/published.csv"
COMPLEXITY = "reports/{scale}/claims/complexity.json"
TABLE = "reports/{scale}/tables/{dataset}.{form}"
COSTS = "reports/{scale}/claims/costs.json"
LEDGER = "reports/{scale}/claims/ledger.csv"

REPORT = "reports/index.html"
#: Speed as measured by ``benchmarks/suite.py``, and committed.
BENCHMARKS = "reports/benchmarks.json"

#: Training state of one job, outside the declared outputs (Snakemake deletes those before a retry).
WORK = "work/{stage}/{fingerprint}"
#: What a finished job leaves for the bridge between Snakemake and DVC.
MARK = "work/marks/{job}.json"
LOG = "logs/{job}.log"

TRACKING_DATABASE = "mlflow.db"


def fill(pattern: str, **names: str | int) -> str:
    """Return ``pattern`` with the given names filled in and the others left as they stand."""
    for name, value in names.items():
        pattern = pattern.replace(f"{{{name}}}", str(value))
    return pattern


def path(pattern: str, **names: str | int) -> Path:
    """Return ``pattern`` with its names filled in.

    Raises:
        KeyError: a name of the pattern is not given.
    """
    return Path(pattern.format(**names))
