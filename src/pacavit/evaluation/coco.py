"""The stage that measures detectors on COCO's validation images."""

from __future__ import annotations

from pacavit.evaluation.metrics import write_metrics
from pacavit.files import write_json
from pacavit.job import Job
from pacavit.measurement.coco import detection_loader, predict, summaries
from pacavit.measurement.sampling import spread
from pacavit.openmmlab import models
from pacavit.runtime.distributed import is_main, process_group
from pacavit.runtime.seeds import seed_all
from pacavit.weights import load


def evaluate(job: Job) -> None:
    """Measure the trained detector, and the untrained one beside it."""
    recipe = job.params.coco.recipe
    options = job.params.evaluate.coco
    loader = detection_loader(job, recipe, options)
    classes = len(loader.dataset.metainfo["classes"])
    with process_group() as device:
        seed_all(int(job.names.get("seed", 0)))
        encoder = models.backbone(job.model, None, drop_path=0.0)
        model = models.build(models.mask_rcnn(encoder, classes, recipe.detector), "mmdet").to(device)
        untrained = {}
        if options.untrained:
            model.init_weights()
            found = predict(model, loader)
            untrained = {"untrained": summaries(loader, found)} if is_main() else {}
        load(model, job.inputs["weights"])
        results = predict(model, loader)
    if not is_main():
        return
    ids = sorted(loader.dataset.get_data_info(i)["img_id"] for i in range(len(loader.dataset)))
    kept = [ids[number] for number in spread(len(ids), options.keep)]
    found = [result for result in results if result["image_id"] in set(kept)]
    write_json(job.outputs["predictions"], {"images": kept, "results": found})
    values = summaries(loader, results, per_class=True)
    write_metrics(job, {**values, "images": len(loader.dataset), **untrained})
