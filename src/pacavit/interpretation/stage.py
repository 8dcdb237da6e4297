"""The stage ``clusters``: how the clusters of a segmentor agree with labels, and how stable they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.cluster import MiniBatchKMeans
from tqdm import tqdm

from pacavit.checkpoints.inspection import restore
from pacavit.checkpoints.tables import create_model
from pacavit.errors import PacavitError
from pacavit.evaluation.metrics import origin
from pacavit.files import write_json
from pacavit.interpretation.measures import Agreement, pack, spread
from pacavit.interpretation.views import Assigned, assigned
from pacavit.job import Job
from pacavit.openmmlab import datasets
from pacavit.openmmlab.models import IGNORED
from pacavit.runtime.seeds import seed_all

#: A whole number of patches in every stage, pixels.
SHIFT = 32
#: Patches of an image that k-means is fitted to.
_SAMPLED = 256


def measure(job: Job) -> None:
    """Measure each stage's clusters and the head's on validation images, trained, untrained and against k-means.

    Raises:
        PacavitError: the weights do not fit the variant, or no pixel of the images has a label.
    """
    recipe, options = job.params.ade20k.recipe, job.params.evaluate.clusters
    dataset = datasets.segmentation(job.inputs["data"], "val", datasets.segmentation_testing(recipe))
    scenes = _Scenes(dataset, options.images)
    classes = len(dataset.metainfo["classes"])
    seed = int(job.names["seed"])
    model, found = restore(job.inputs["weights"], job.model)
    seed_all(seed)
    other = create_model(model.state_dict(), found).eval()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    trained = _agreements(model.to(device), scenes, classes, seed)
    untrained = _agreements(other.to(device), scenes, classes, seed)
    if not all(values["labelled"] for values in trained.values()):
        raise PacavitError(
            f"{job.inputs['data']}: no labelled pixel in the first {len(scenes)} validation images; "
            f"raise clusters.images in params/{job.scale}/evaluate.yaml"
        )
    stable = _stability(model, scenes)
    stages = {
        name: {**values, **stable.get(name, {}), "untrained": untrained[name]}
        for name, values in trained.items()
    }
    kept = [
        {name: pack(seen.strongest) for name, seen in assigned(model, scenes[number][0]).items()}
        for number in range(min(options.kept, len(scenes)))
    ]
    values = {"stages": stages, "images": len(scenes), "shift": SHIFT, "kept": kept, "origin": origin(job)}
    write_json(job.outputs["measures"], values)
    logged = {
        f"{name}/{key}": value
        for name, stage in stages.items()
        for key, value in stage.items()
        if isinstance(value, (int, float))
    }
    job.run.log({key.replace(" ", "_"): value for key, value in logged.items()}, step=0)
    job.run.artifact(job.outputs["measures"])


class _Scenes:
    """The first images of a data set with their labels (H, W) at their own size."""

    def __init__(self, dataset: Any, count: int) -> None:
        self._dataset = dataset
        self._count = min(count, len(dataset))

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> tuple[Image.Image, np.ndarray]:
        if number >= self._count:
            raise IndexError(number)
        item = self._dataset[number]
        # mmsegmentation reads blue first.
        pixels = item["inputs"].numpy()[::-1].transpose(1, 2, 0)
        labels = item["data_samples"].gt_sem_seg.data.squeeze(0).numpy()
        return Image.fromarray(np.ascontiguousarray(pixels)), labels


def _agreements(model: torch.nn.Module, scenes: _Scenes, classes: int, seed: int) -> dict[str, Any]:
    """Return, by stage, how clusters and k-means on the same features agree with the labels."""
    means = _fit(model, scenes, seed)
    own: dict[str, Agreement] = {}
    other: dict[str, Agreement] = {}
    spreads: dict[str, list[float]] = {}
    for image, labels in tqdm(scenes, desc="clusters", unit="img", leave=False, disable=None):
        for name, seen in assigned(model, image).items():
            clusters = len(seen.assignment)
            own.setdefault(name, Agreement(clusters, classes)).add(
                _enlarged(seen.strongest, labels.shape), labels, IGNORED
            )
            spreads.setdefault(name, []).append(spread(seen.assignment))
            if name in means:
                near = means[name].predict(seen.features).reshape(seen.strongest.shape)
                other.setdefault(name, Agreement(clusters, classes)).add(
                    _enlarged(near, labels.shape), labels, IGNORED
                )
    return {
        name: {
            "clusters": len(agreement.counts),
            "labelled": int(agreement.counts.sum()),
            **agreement.summary(),
            "spread": float(np.mean(spreads[name])),
            "kmeans": other[name].summary() if name in other else None,
        }
        for name, agreement in own.items()
    }


def _fit(model: torch.nn.Module, scenes: _Scenes, seed: int) -> dict[str, MiniBatchKMeans]:
    """Fit as many means as a stage has clusters to some patches of every image, by stage."""
    random = np.random.default_rng(seed)
    samples: dict[str, list[np.ndarray]] = {}
    counts: dict[str, int] = {}
    for image, _ in scenes:
        for name, seen in assigned(model, image).items():
            if seen.features is not None:
                taken = random.permutation(len(seen.features))[:_SAMPLED]
                samples.setdefault(name, []).append(seen.features[taken])
                counts[name] = len(seen.assignment)
    return {
        name: MiniBatchKMeans(counts[name], random_state=seed, n_init=3).fit(np.concatenate(parts))
        for name, parts in samples.items()
        if sum(map(len, parts)) >= counts[name]
    }


def _stability(model: torch.nn.Module, scenes: _Scenes) -> dict[str, dict[str, float]]:
    """Return, by stage, the share of patches whose strongest cluster stays under a flip and a shift."""
    shares: dict[str, dict[str, list[float]]] = {}
    for image, _ in scenes:
        # Patches lie at every s-th pixel from the first on, so that mirrored ones meet on such widths alone.
        image = image.crop((0, 0, max((image.width - 1) // SHIFT, 1) * SHIFT + 1, image.height))
        plain = assigned(model, image)
        for change, pairs in (
            ("flip", _flipped(model, image, plain)),
            ("shift", _shifted(model, image, plain)),
        ):
            for name, before, after in pairs:
                if before.size:
                    shares.setdefault(name, {"flip": [], "shift": []})[change].append(
                        np.mean(before == after)
                    )
    return {
        name: {f"stable_{change}": float(np.mean(values)) for change, values in changes.items() if values}
        for name, changes in shares.items()
    }


Pairs = Iterator[tuple[str, np.ndarray, np.ndarray]]


def _flipped(model: torch.nn.Module, image: Image.Image, plain: dict[str, Assigned]) -> Pairs:
    for name, seen in assigned(model, image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)).items():
        yield name, plain[name].strongest, seen.strongest[:, ::-1]


def _shifted(model: torch.nn.Module, image: Image.Image, plain: dict[str, Assigned]) -> Pairs:
    """Compare an image with its part right of the first patches: what both show."""
    if image.width <= 2 * SHIFT:
        return
    part = assigned(model, image.crop((SHIFT, 0, image.width, image.height)))
    for name, seen in part.items():
        width = seen.strongest.shape[1]
        yield name, plain[name].strongest[:, -width:], seen.strongest


def _enlarged(clusters: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    picture = Image.fromarray(clusters.astype(np.int32))
    return np.asarray(picture.resize(shape[::-1], Image.Resampling.NEAREST))
