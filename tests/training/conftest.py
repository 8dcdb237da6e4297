"""Jobs on a few miniature images, as the stages make them."""

import shutil

import pytest

from pacavit import params, paths, stages
from pacavit.tracking import Run


@pytest.fixture
def create_job(miniature, project):
    """A function that returns a job of a stage; keywords replace values of the stage's recipe."""
    shutil.copytree(miniature, project, dirs_exist_ok=True)
    given = params.load("mini")

    def create(stage, work="work", head=None, **changed):
        page = {"evaluate_imagenet": "pretrain"}.get(stage, stage.removeprefix("evaluate_"))
        whole = getattr(given, page)
        recipe = whole.recipe.model_copy(update={**_SHORT[page], **changed})
        pages = {**vars(given), page: whole.model_copy(update={"recipe": recipe})}
        names = {"variant": "test_pacavit", "seed": 0} | ({"head": head} if head else {})
        spec = stages.STAGES[stage]
        return stages.Job(
            stage=stage,
            scale="mini",
            names=names,
            params=params.Params(**pages),
            inputs={key: paths.path(p, scale="mini", **names) for key, p in spec.inputs.items()},
            outputs={key: paths.path(p, scale="mini", **names) for key, p in spec.outputs.items()},
            fingerprint="test",
            work=project / work,
            run=Run(project / work),
        )

    return create


_BATCH = {"global_batch": 4, "micro_batch": 2, "warmup_updates": 2, "log_updates": 2, "checkpoint_updates": 2}
_SHORT = {
    "pretrain": {
        "image_size": 32,
        "epochs": 2,
        "warmup_epochs": 1,
        "global_batch": 8,
        "micro_batch": 4,
        "checkpoint_updates": 2,
    },
    "coco": {**_BATCH, "epochs": 1, "drop_epochs": [], "validate_epochs": 1},
    "ade20k": {**_BATCH, "updates": 5, "validate_updates": 5},
}
