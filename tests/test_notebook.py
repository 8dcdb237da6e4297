"""The notebook runs from its first cell to its last, with and without the miniature's weights."""

import re
from pathlib import Path

import nbformat
import pytest

from pacavit.pipeline import targets

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "notebooks/tour.ipynb"
#: Of held-out digits in percent; chance is ten.
CLEARLY_ABOVE_CHANCE = 70
#: A home, a temporary or a mounted folder, or a drive.
MACHINE_PATH = re.compile(r"/(?:home|root|Users|tmp|work|mnt|opt|usr|var)/|\b[A-Z]:\\")


@pytest.fixture
def notebook():
    found = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(found)
    return found


@pytest.fixture
def execute(notebook, tmp_path, monkeypatch):
    """A function that runs the notebook in a folder, and gives what it printed and how many figures it drew."""
    from nbclient import NotebookClient

    # A matplotlib backend of the tests would draw into files; history and profile belong to the user.
    monkeypatch.delenv("MPLBACKEND", raising=False)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))

    def run(folder):
        # Raises at the first cell that fails, with its traceback.
        NotebookClient(
            notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
        ).execute()
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
        assert not [output for output in outputs if output.output_type == "error"]
        printed = "".join(output.text for output in outputs if output.get("name") == "stdout")
        return printed, sum("image/png" in output.get("data", {}) for output in outputs)

    return run


def accuracy(printed):
    return float(re.search(r"accuracy on \d+ held-out digits: ([\d.]+) %", printed)[1])


@pytest.mark.slow
def test_it_trains_a_classifier_that_reads_digits(execute, tmp_path):
    printed, figures = execute(tmp_path)
    assert "training test_pacavit" in printed
    assert accuracy(printed) > CLEARLY_ABOVE_CHANCE
    assert figures == 5


@pytest.mark.slow
@pytest.mark.parametrize("started_in", [".", "notebooks"])
def test_it_finds_the_miniatures_weights(notebook, execute, tmp_path, started_in):
    import timm
    import torch
    from safetensors.torch import save_file

    import pacavit.models  # noqa: F401, registers the variants

    # These always answer 7, as no training would.
    model = timm.create_model("test_pacavit", num_classes=10)
    torch.nn.init.zeros_(model.head.weight)
    model.head.bias.data[7] = 1
    weights = tmp_path / targets.path("pretrain.weights", "mini", variant="test_pacavit", seed=0)
    weights.parent.mkdir(parents=True)
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, weights)
    (tmp_path / "notebooks").mkdir()

    last = [cell.id for cell in notebook.cells].index("accuracy")
    notebook.cells = notebook.cells[: last + 1]
    printed, _ = execute(tmp_path / started_in)
    assert "weights of the miniature" in printed
    assert "training" not in printed
    assert accuracy(printed) < 20


def test_the_committed_one_holds_no_results(notebook):
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert not [cell.id for cell in code if cell.outputs or cell.execution_count]
    assert not [cell.id for cell in notebook.cells if cell.metadata]
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3"


def test_the_committed_one_names_no_folder_of_a_machine():
    assert not MACHINE_PATH.search(NOTEBOOK.read_text(encoding="utf-8"))
