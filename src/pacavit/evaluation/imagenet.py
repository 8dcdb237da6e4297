"""The stage that measures classifiers on ImageNet's validation images."""

from __future__ import annotations

import numpy as np

from pacavit.data.classes import Classes
from pacavit.evaluation.metrics import write_metrics
from pacavit.files import atomic_file
from pacavit.job import Job
from pacavit.measurement.imagenet import accuracies, measure, predict, validation_loader
from pacavit.measurement.sampling import spread
from pacavit.models import variants
from pacavit.runtime.distributed import process_group
from pacavit.runtime.precision import autocast_type
from pacavit.runtime.seeds import seed_all
from pacavit.weights import load


def evaluate(job: Job) -> None:
    """Measure the trained variant, and the untrained one beside it."""
    recipe = job.params.pretrain.recipe
    options = job.params.evaluate.imagenet
    classes = Classes.of(job.inputs["data"])
    with process_group() as device:
        precision = autocast_type(recipe.precision, device)
        loader = validation_loader(job, recipe, options.batch_size, options.workers)
        seed_all(int(job.names.get("seed", 0)))
        model = variants.create(job.model, len(classes), image_size=recipe.image_size).to(device)
        untrained = {}
        if options.untrained:
            untrained = {"untrained": measure(model, loader, device, precision)}
        load(model, job.inputs["weights"])
        logits, labels = predict(model, loader, device, precision)
    values = accuracies(logits, labels)
    hits = (logits.argmax(1) == labels).float()
    recall = (
        100.0 * float(hits[labels == i].mean()) if (labels == i).any() else None for i in range(len(classes))
    )
    keep = spread(len(labels), options.keep)
    with atomic_file(job.outputs["predictions"]) as temporary, open(temporary, "wb") as file:
        np.savez(
            file,
            logits=logits[keep].numpy(),
            labels=labels[keep].numpy(),
            indices=np.array(keep),
        )
    write_metrics(
        job, {**values, "per_class": classes.table(top1=recall), "images": len(labels), **untrained}
    )
