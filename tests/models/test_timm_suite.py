"""timm's own test suite of models, unmodified, with every variant in its list.

The suite comes with the source distribution of the installed version of timm, which pip fetches once into pytest's
cache. It leaves two things out by itself, which test_timm_api.py covers: it asks forward_intermediates and pruning
of a list of timm's own files alone, and features_only of no model that is called a mixer.
"""

import os
import subprocess
import sys
import tarfile
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest
import timm
from filelock import FileLock

from pacavit.models import paca_vit

#: Variants of two kinds that are quick enough for every run of the tests; the others are shared by slow tests.
QUICK = ("test_pacavit", "pacavit_convmixer_tiny_100")
OTHERS = [name for name in paca_vit._VARIANTS if name not in QUICK]
TESTS = {
    "test_model_forward",
    "test_model_backward",
    "test_model_default_cfgs",
    "test_model_forward_torchscript",
    "test_model_forward_features",
    "test_model_forward_fx",
    "test_model_backward_fx",
    "test_model_forward_fx_torchscript",
}
TESTS_OF_A_MIXER = TESTS - {"test_model_default_cfgs", "test_model_forward_features"} | {
    "test_model_default_cfgs_non_std"
}


@pytest.fixture
def suite(request) -> Path:
    """The folder of timm's tests and of their configuration, without timm itself."""
    folder = Path(request.config.cache.mkdir("timm")) / timm.__version__
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
                fetch(Path(scratch))
                (Path(scratch) / f"timm-{timm.__version__}").rename(folder)
    return folder


def fetch(folder: Path) -> None:
    requirement = f"timm=={timm.__version__}"
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", "timm", "--dest", folder]
    run = subprocess.run([*pip, requirement], capture_output=True, text=True)
    if run.returncode != 0:
        reason = f"pip cannot fetch the sources of {requirement}: run `make test` with a network"
        if os.environ.get("CI", "").lower() not in ("", "0", "false", "no"):
            pytest.fail(f"{reason}\n{run.stderr[-500:]}")
        pytest.skip(reason)
    (archive,) = folder.glob("timm-*.tar.gz")
    with tarfile.open(archive) as content:
        inside = [m for m in content if m.name.split("/")[1] in ("tests", "pyproject.toml")]
        content.extractall(folder, inside, filter="data")


def run(suite: Path, names: Sequence[str], report: Path) -> None:
    exact = [f"-{name}{end}]" for name in names for end in ("", ".untrained")]
    # The suite drops tests on GitHub, and pytest's options are meant for this run.
    left = ("GITHUB_ACTIONS", "PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT")
    env = {k: v for k, v in os.environ.items() if k not in left}
    # As a plugin, the package is imported, and the variants registered, before the suite lists the models.
    options = ["-p", "pacavit.models", "-p", "no:cacheprovider", "-q", "--rootdir", ".", "--junitxml", report]
    command = [sys.executable, "-m", "pytest", "tests/test_models.py", *options]
    done = subprocess.run(
        [*command, "-k", f"test_model and ({' or '.join(exact)})"],
        cwd=suite,
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "names",
    [
        QUICK,
        pytest.param(OTHERS[::2], marks=pytest.mark.slow),
        pytest.param(OTHERS[1::2], marks=pytest.mark.slow),
    ],
    ids=["quick", "others", "the rest"],
)
def test_timms_own_suite_passes(suite, tmp_path, names):
    run(suite, names, tmp_path / "report.xml")
    passed = defaultdict(set)
    for case in ElementTree.parse(tmp_path / "report.xml").iter("testcase"):
        test, _, parameters = case.get("name").rstrip("]").partition("[")
        assert len(case) == 0, f"{case.get('name')}: {case[0].get('message')}"
        passed[parameters.partition("-")[2].partition(".")[0]].add(test)
    assert passed == {name: TESTS_OF_A_MIXER if "mixer_" in name else TESTS for name in names}
