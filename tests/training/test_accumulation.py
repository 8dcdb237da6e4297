"""The global batch of the page holds for any number of processes, or there is an error."""

import pytest

from pacavit import params
from pacavit.errors import PacavitError
from pacavit.training.accumulation import accumulation


@pytest.mark.parametrize("page", ["pretrain", "coco", "ade20k"])
@pytest.mark.parametrize("processes", [1, 2, 3, 4, 6, 8, 16, 64])
def test_micro_batches_of_all_processes_add_up_to_the_papers_batch_or_are_refused(project, page, processes):
    recipe = getattr(params.load("paper"), page).recipe
    if processes in (1, 2, 4, 8):
        parts = accumulation(page, recipe, processes)
        assert (
            parts * processes * recipe.micro_batch == recipe.global_batch == {"pretrain": 1024}.get(page, 16)
        )
    else:
        with pytest.raises(
            PacavitError, match=rf"{page}\.yaml: global_batch {recipe.global_batch} is no multiple"
        ):
            accumulation(page, recipe, processes)


def test_the_message_tells_what_would_fit(project):
    recipe = params.load("paper").pretrain.recipe
    with pytest.raises(
        PacavitError, match=r"16 processes × micro_batch 128; set micro_batch to one of 1, 2, .*, 64$"
    ):
        accumulation("pretrain", recipe, 16)
    with pytest.raises(PacavitError, match="use a number of processes that divides it"):
        accumulation("pretrain", recipe, 3)
