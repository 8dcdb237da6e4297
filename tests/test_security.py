"""What comes from outside runs no code, reaches no shell, and fills no memory; see docs/security.md."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pacavit import params
from pacavit.cli import main
from pacavit.errors import PacavitError
from pages import shorten

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "src").rglob("*.py"))

#: Calls that run code found in a file, hand a string to a shell, or unpack wherever an archive says.
FORBIDDEN = {
    *(
        "eval",
        "exec",
        "compile",
        "os.system",
        "os.popen",
        "subprocess.getoutput",
        "subprocess.getstatusoutput",
    ),
    "torch.hub.load",
    *("yaml.load", "yaml.unsafe_load", "yaml.full_load"),
}
#: Ways of ruamel's YAML that make plain values alone.
SAFE_YAML = ("'safe'", "'rt'")
METHODS = {"extractall", "unpack_archive"}
#: Modules that run code found in a file, under whatever name their functions are imported.
MODULES = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "yaml"}


def imports(tree: ast.AST):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def calls(tree: ast.AST):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield (
                ast.unparse(node.func),
                {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords},
            )


def faults(source: str) -> list[str]:
    tree = ast.parse(source)
    found = [name for name in imports(tree) if name.partition(".")[0] in MODULES]
    for name, keywords in calls(tree):
        if name in FORBIDDEN or name.rpartition(".")[2] in METHODS:
            found.append(name)
        if name == "torch.load" and keywords.get("weights_only") != "True":
            found.append("torch.load without weights_only=True")
        if keywords.get("allow_pickle", "False") != "False":
            found.append(f"{name} with allow_pickle")
        if keywords.get("shell", "False") != "False":
            found.append(f"{name} with shell")
        if name.rpartition(".")[2] == "YAML" and keywords.get("typ") not in SAFE_YAML:
            found.append("YAML that makes objects")
    return found


@pytest.mark.parametrize(
    "line",
    [
        *(
            "torch.load(p)",
            "np.load(p, allow_pickle=True)",
            "subprocess.run(c, shell=True)",
            "eval(x)",
            "YAML()",
        ),
        *("tar.extractall(p)", "import pickle", "from pickle import loads"),
    ],
)
def test_the_check_finds_what_it_is_for(line):
    assert faults(line)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_no_code_from_files_and_no_shell(path):
    assert faults(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "scale", ["mini; touch harm", "$(touch harm)", "../params/mini", "a b", "'", '"', "-x", ""]
)
def test_a_scale_that_a_shell_would_read_otherwise_is_refused(project, scale):
    with pytest.raises(PacavitError, match=r"scale .*: expected a folder below params/"):
        params.load(scale)


def test_a_variant_that_a_shell_would_read_otherwise_is_refused(project):
    page = project / "params/mini/targets.yaml"
    page.write_text(page.read_text().replace("[test_pacavit]", "['test; touch harm']"))
    with pytest.raises(PacavitError, match=r"targets.yaml: variants.0: String should match pattern"):
        params.load("mini")


@pytest.mark.parametrize("name", ["../../harm", "$(touch harm)", "a b"])
def test_a_variant_of_the_command_line_is_refused(project, monkeypatch, capsys, name):
    monkeypatch.setattr(sys, "argv", ["pacavit", "pretrain", name])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert repr(name) in capsys.readouterr().err
    assert sorted(path.name for path in project.iterdir()) == ["params"]


@pytest.mark.slow
def test_no_value_of_the_environment_is_shown_or_written(project, miniature):
    """A training with secrets in its environment; the tracking address holds one too, and cannot be reached."""
    shutil.copytree(miniature, project, dirs_exist_ok=True)
    shorten(project / "params/mini/pretrain.yaml", epochs=2, global_batch=8, micro_batch=8)
    canary = "canary-3f9c"
    environment = {
        **os.environ,
        "AWS_SECRET_ACCESS_KEY": canary,
        "MLFLOW_TRACKING_PASSWORD": canary,
        "MLFLOW_TRACKING_TOKEN": canary,
        "MLFLOW_TRACKING_URI": f"http://someone:{canary}@127.0.0.1:9",
        "PACAVIT_TRACKING": "on",
        "PACAVIT_TRACKING_PASSWORD": canary,
        "PACAVIT_TRACKING_PATIENCE": "20",
    }
    commands = [["pretrain", "test_pacavit"], ["sync"]]
    output = ""
    for command in commands:
        done = subprocess.run(
            [sys.executable, "-m", "pacavit", *command],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )
        output += done.stdout + done.stderr
    assert "update 6/6" in output
    assert "cannot be reached" in output
    assert canary not in output
    written = [path for path in project.rglob("*") if path.is_file()]
    assert len(written) > 10
    assert [path for path in written if canary.encode() in path.read_bytes()] == []
