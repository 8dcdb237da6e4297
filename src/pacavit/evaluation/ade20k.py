"""The stage that measures segmentors on ADE20K's validation images."""

from __future__ import annotations

from typing import Any

import numpy as np

from pacavit.data.classes import Classes
from pacavit.evaluation.metrics import write_metrics
from pacavit.files import atomic_file
from pacavit.job import Job
from pacavit.measurement.ade20k import Maps, measure, segmentation_loader
from pacavit.measurement.sampling import spread
from pacavit.openmmlab import models
from pacavit.runtime.distributed import gather, is_main, process_group
from pacavit.runtime.seeds import seed_all
from pacavit.weights import load


def evaluate(job: Job) -> None:
    """Measure the trained segmentor, and the untrained one beside it."""
    options = job.params.evaluate.ade20k
    loader = segmentation_loader(job, job.params.ade20k.recipe, options)
    classes = Classes.of(job.inputs["data"])
    with process_group() as device:
        seed_all(int(job.names.get("seed", 0)))
        model = models.build(models.segmentor(job, len(classes), None, "BN"), "mmseg").to(device)
        untrained = {}
        if options.untrained:
            model.init_weights()
            untrained = {"untrained": measure(model, loader, len(classes)).summary()}
        load(model, job.inputs["weights"])
        kept: Maps = {}
        keep = spread(len(loader.dataset), options.keep)
        confusion = measure(model, loader, len(classes), kept, keep)
        kept = {number: maps for part in gather(kept) for number, maps in part.items()}
    if not is_main():
        return
    with atomic_file(job.outputs["predictions"]) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **_arrays(kept))
    per_class = classes.table(IoU=(None if np.isnan(value) else float(value) for value in confusion.iou()))
    write_metrics(
        job, {**confusion.summary(), "per_class": per_class, "images": len(loader.dataset), **untrained}
    )


def _arrays(kept: Maps) -> dict[str, Any]:
    arrays: dict[str, Any] = {"names": [kept[number][0] for number in sorted(kept)]}
    for place, number in enumerate(sorted(kept)):
        arrays[f"prediction_{place}"], arrays[f"truth_{place}"] = kept[number][1:]
    return arrays
