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
from pathlib import Path

import pytest
import timm

from pacavit.models import paca_vit

# Two processes, for the two cores that the tests are meant for.
SHARES = 2
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


def start(suite: Path, names: list[str], report: Path) -> subprocess.Popen:
    exact = [f"-{name}{end}]" for name in names for end in ("", ".untrained")]
    # The suite drops tests on GitHub, and pytest's options are meant for this run.
    env = {k: v for k, v in os.environ.items() if k not in ("GITHUB_ACTIONS", "PYTEST_ADDOPTS")}
    # As a plugin, the package is imported, and the variants registered, before the suite lists the models.
    options = ["-p", "pacavit.models", "-p", "no:cacheprovider", "-q", "--rootdir", ".", "--junitxml", report]
    command = [sys.executable, "-m", "pytest", "tests/test_models.py", *options]
    return subprocess.Popen(
        [*command, "-k", f"test_model and ({' or '.join(exact)})"],
        cwd=suite,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
def test_timms_own_suite_passes(suite, tmp_path):
    names = list(paca_vit._VARIANTS)
    reports = [tmp_path / f"{i}.xml" for i in range(SHARES)]
    runs = [start(suite, names[i::SHARES], report) for i, report in enumerate(reports)]
    for run, (output, _) in [(run, run.communicate()) for run in runs]:
        assert run.returncode == 0, output
    passed = defaultdict(set)
    for case in (case for report in reports for case in ElementTree.parse(report).iter("testcase")):
        test, _, parameters = case.get("name").rstrip("]").partition("[")
        assert len(case) == 0, f"{case.get('name')}: {case[0].get('message')}"
        passed[parameters.partition("-")[2].partition(".")[0]].add(test)
    assert passed == {name: TESTS_OF_A_MIXER if "mixer_" in name else TESTS for name in names}
