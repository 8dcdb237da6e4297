"""Semantic segmentation on ADE20K, from a pretrained variant, with the PaCa head or UPerNet."""

from __future__ import annotations

from typing import Any

from pacavit.data.classes import Classes
from pacavit.job import Job
from pacavit.measurement.ade20k import measure, segmentation_loader
from pacavit.models import PaCaViT, variant_config, variants
from pacavit.openmmlab import datasets, models
from pacavit.params.ade20k import PacaHeadParams
from pacavit.runtime.distributed import is_main, process_group, world_size
from pacavit.training.finetuning import FineTuning
from pacavit.training.finetuning import finetune as run
from pacavit.training.outputs import write_outputs


def finetune(job: Job) -> None:
    """Fine-tune a segmentor and write the final weights.

    Raises:
        PacavitError: the pretrained weights do not fit, or the loss is not finite.
    """
    with process_group() as device:
        # Batch norm over the images of all processes, which torch has on GPUs only.
        norm = "SyncBN" if device.type == "cuda" and world_size() > 1 else "BN"
        task = describe(job, norm)
        weights = run(job, task, device)
    if is_main():
        classes = Classes.of(job.inputs["data"])
        config = models.segmentor(job, len(classes), None, "BN")
        described = {"config": config, "imports": list(job.model.imports)}
        write_outputs(job, weights, {"task": "segmentation", **classes.description, **described})


def describe(job: Job, norm: str) -> FineTuning:
    """Return the fine-tuning that the parameters ask for."""
    recipe = job.params.ade20k.recipe
    dataset = datasets.segmentation(job.inputs["data"], "train", datasets.segmentation_training(recipe))
    validation = segmentation_loader(job, recipe, job.params.evaluate.ade20k)
    classes = len(dataset.metainfo["classes"])
    return FineTuning(
        scope="mmseg",
        model=models.segmentor(job, classes, str(job.inputs["pretrained"]), norm),
        dataset=dataset,
        updates=recipe.updates,
        recipe=recipe,
        custom_keys=multipliers(job),
        decay={
            "type": "PolyLR",
            "power": 1.0,
            "eta_min": 0.0,
            "by_epoch": False,
            "begin": recipe.warmup_updates,
            "end": recipe.updates,
        },
        validate_updates=recipe.validate_updates,
        validate=lambda model: measure(model, validation, classes).summary(),
    )


def multipliers(job: Job) -> dict[str, dict[str, Any]]:
    """Return mmengine's multipliers, by part of a parameter's name: what is not decayed, and higher rates.

    With the PaCa head, the head and the layers whose size is the number of clusters, which start anew, learn faster.
    The published configuration names ``clustering.4``, which is such a layer in the convolutional clustering only.
    Other heads have the plain rate as published, which is a multiplier of 1. Of two names that fit, mmengine
    takes the longer, then the first of the alphabet: batch norms of the PaCa head are under ``head``, and so decayed,
    as published.
    """
    keys: dict[str, dict[str, Any]] = variants.decay_multipliers(job.model)
    head = getattr(job.params.ade20k.heads, str(job.names["head"]))
    faster = {"lr_mult": head.lr_multiplier}
    if not isinstance(head, PacaHeadParams):
        # A key of its own would take the heads' norms from under `norm`.
        return keys if head.lr_multiplier == 1 else {**keys, "head": faster, "neck": faster}
    if head.multiplied == "literal":
        return {**keys, "head": faster, "clustering.4": faster}
    clusters = {"num_clusters": job.params.ade20k.variants[job.model.variant].num_clusters}
    variant = {**variant_config(job.model.model), **job.model.kwargs, **clusters}
    anew = PaCaViT(**variant, device="meta").cluster_outputs()
    return {**keys, "head": faster, **{f"backbone.{layer}": faster for layer in anew}}
