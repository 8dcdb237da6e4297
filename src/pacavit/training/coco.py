"""Mask R-CNN on COCO, from a pretrained variant."""

from __future__ import annotations

from typing import Any

from pacavit.data.classes import Classes
from pacavit.job import Job
from pacavit.measurement.coco import detection_loader, measure
from pacavit.models import variants
from pacavit.openmmlab import datasets, models
from pacavit.params.targets import Model
from pacavit.runtime.distributed import is_main, process_group
from pacavit.training.finetuning import FineTuning
from pacavit.training.finetuning import finetune as run
from pacavit.training.outputs import write_outputs


def finetune(job: Job) -> None:
    """Fine-tune Mask R-CNN and write the final weights.

    Raises:
        PacavitError: the pretrained weights do not fit, or the loss is not finite.
    """
    with process_group() as device:
        task = describe(job)
        weights = run(job, task, device)
    if is_main():
        classes = Classes.of(job.inputs["data"])
        encoder = models.backbone(job.model, None, drop_path=0.0)
        config = models.mask_rcnn(encoder, len(classes), job.params.coco.recipe.detector)
        described = {"config": config, "imports": list(job.model.imports)}
        write_outputs(job, weights, {"task": "detection", **classes.description, **described})


def describe(job: Job) -> FineTuning:
    """Return the fine-tuning that the parameters ask for.

    An epoch is as many updates as it has whole batches; images left over open the next one.
    """
    recipe = job.params.coco.recipe
    name = str(job.names["variant"])
    dataset = datasets.detection(job.inputs["data"], "train", datasets.detection_training(recipe))
    encoder = models.backbone(
        job.model,
        str(job.inputs["pretrained"]),
        job.params.coco.variants[name].drop_path,
        pretrained_weights=recipe.pretrained_weights,
    )
    validation = detection_loader(job, recipe, job.params.evaluate.coco)
    updates = max(1, len(dataset) // recipe.global_batch)
    return FineTuning(
        scope="mmdet",
        model=models.mask_rcnn(encoder, len(dataset.metainfo["classes"]), recipe.detector),
        dataset=dataset,
        updates=recipe.epochs * updates,
        recipe=recipe,
        custom_keys=multipliers(job.model),
        decay={
            "type": "MultiStepLR",
            "by_epoch": False,
            "milestones": [epoch * updates for epoch in recipe.drop_epochs],
            "gamma": 0.1,
        },
        validate_updates=recipe.validate_epochs * updates,
        validate=lambda model: measure(model, validation),
    )


def multipliers(model: Model) -> dict[str, dict[str, Any]]:
    """Return mmengine's multipliers, by part of a parameter's name: what is not decayed, and one rate for all.

    Of a PaCa-ViT that is the norms; a teacher's batch norms have numbers for names, so they are decayed, as published.
    """
    return variants.decay_multipliers(model)
