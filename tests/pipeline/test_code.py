"""What counts as the code of a stage."""

import ast

import pytest

from pacavit.pipeline import code
from pacavit.pipeline.table import STAGES, Stage


def test_comments_docstrings_and_layout_are_no_code():
    source = 'def f(x):\n    """Double."""\n    return 2 * x\n'
    assert code.code_digest(source) == code.code_digest("# More.\ndef f(x):\n\n    return (2 * x)\n")
    assert code.code_digest(source) != code.code_digest("def f(x):\n    return 3 * x\n")


def test_what_versions_of_python_add_to_a_tree_is_no_code():
    """3.12 gives functions the type parameters of PEP 695, empty here; a ``u`` before a text is kept by all."""
    tree = ast.parse("def f(x):\n    return 'a'\n")
    tree.body[0].type_params = []
    tree.body[0]._fields = (*tree.body[0]._fields, "type_params")
    assert code._plain(tree) == code._plain(ast.parse("def f(x):\n    return u'a'\n"))


def forget() -> None:
    for cached in (code.module_digest, code.imported, code._analysed, code._file):
        cached.cache_clear()


@pytest.mark.parametrize(
    ("stage", "holds"),
    [
        ("pretrain", "pacavit.models.paca_vit"),
        ("coco", "pacavit.weights.reader"),  # decides the weights that fine-tuning starts from
        ("ade20k", "pacavit.openmmlab.paca_head"),
        ("evaluate_coco", "pacavit.evaluation.coco"),
        ("report", "pacavit.figures.page"),
        ("archives_coco", "pacavit.data.miniatures.coco"),
        ("archives_coco", "pacavit.data.folders.coco"),
        ("archives_coco", "pacavit.data.digits"),
    ],
)
def test_a_stage_depends_on_what_its_function_calls(stage, holds):
    assert holds in code.modules(STAGES[stage])


@pytest.mark.parametrize("stage", STAGES)
def test_no_stage_depends_on_what_changes_no_result(stage):
    assert not [module for module in code.modules(STAGES[stage]) if code.has_no_results(module)]


def test_templates_are_code_too(tmp_path, monkeypatch):
    for name in ("figures/page/report.html", "figures/report.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    monkeypatch.setattr(code, "_ROOT", tmp_path)
    stage = Stage("x", "x", "pacavit.figures.report:write", {}, {}, code=("pacavit.figures.page",))
    forget()
    before = code.digest(stage)
    (tmp_path / "figures/page/report.html").write_text("<p>")
    code.module_digest.cache_clear()
    assert code.digest(stage) != before
    forget()


def package(tmp_path, monkeypatch, **sources: str) -> None:
    for name, source in sources.items():
        (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.setattr(code, "_ROOT", tmp_path)
    forget()


def test_modules_are_analysed_once(project, tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("package")
    package(folder, monkeypatch, a="from pacavit import b", b="x = 1")
    before = code.imported("pacavit.a"), code.module_digest("pacavit.a"), code.module_digest("pacavit.b")
    parsed = []
    monkeypatch.setattr(code, "_analyse", lambda source: parsed.append(source) or ("new", []))
    forget()
    assert (
        code.imported("pacavit.a"),
        code.module_digest("pacavit.a"),
        code.module_digest("pacavit.b"),
    ) == before
    assert parsed == []
    package(folder, monkeypatch, b="x = 2")
    assert code.module_digest("pacavit.b") == "new"
    assert parsed == [b"x = 2"]
    monkeypatch.undo()
    forget()


def test_a_module_with_a_mistake_hurts_only_what_imports_it(tmp_path, monkeypatch):
    package(tmp_path, monkeypatch, a="x = 1", b="x = ", c="x = '\0'")
    assert code.module_digest("pacavit.a") == code.code_digest("x = 1")
    assert len({code.module_digest(f"pacavit.{name}") for name in "abc"}) == 3
    monkeypatch.undo()
    forget()


def test_what_type_checkers_alone_import_is_no_dependency():
    assert "pacavit.tracking" not in code.imported("pacavit.job")
