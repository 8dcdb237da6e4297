"""A stage waits for no library that it does not use."""

import subprocess
import sys

import pytest

UNUSED = {
    "pacavit.cli": ["torch", "numpy", "mlflow", "snakemake", "pydantic"],
    "pacavit.training.pretrain": ["mmengine", "mmdet", "mmseg", "mlflow", "matplotlib"],
    "pacavit.training.coco": ["mmseg", "mlflow", "matplotlib"],
    "pacavit.training.ade20k": ["mmdet", "mlflow"],
    "pacavit.prediction.run": ["mmengine", "mmdet", "mmseg", "mlflow", "matplotlib"],
    "pacavit.tracking.replay": ["torch", "timm", "mmengine", "matplotlib", "pacavit.tracking.registration"],
    "pacavit.tracking.registration": ["torch", "timm", "mmengine", "matplotlib"],
    "pacavit.tracking.uploader": ["torch", "mlflow", "pandas"],
    "pacavit.data.sources": ["torch", "sklearn", "mlflow", "matplotlib"],
    "pacavit.data.digits": ["torch", "sklearn", "scipy"],
    "pacavit.claims.ledger": ["torch", "timm", "mlflow", "matplotlib"],
    "pacavit.figures.report": ["torch", "timm", "sklearn", "mlflow", "matplotlib"],
    "pacavit.figures.overview": ["torch", "timm", "sklearn", "mlflow"],
}


@pytest.mark.slow
@pytest.mark.parametrize("module", UNUSED)
def test_what_a_stage_does_not_use_is_not_imported(module):
    code = f"import sys, {module}; print(*sys.modules, sep='\\n')"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert set(UNUSED[module]) & set(printed.splitlines()) == set()
