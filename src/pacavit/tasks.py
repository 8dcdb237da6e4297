"""The three tasks: how each is trained, what tells its models apart, and how it is measured."""

from __future__ import annotations

from dataclasses import dataclass

#: The segmentation heads.
HEADS = ("paca", "upernet", "fpn")


@dataclass(frozen=True)
class Metric:
    """A number that a task is measured by.

    Attributes:
        key: where it stands in a metrics file, dotted.
        label: for people.
        published: its name in ``claims/published.csv``; None if the papers do not print it.
        unit: of the published value, ``%`` or none.
        factor: from the value in a metrics file to the published one.
        decimals: shown of the value in a metrics file.
        main: stands on the page and in the summary, not in tables alone.
    """

    key: str
    label: str
    published: str | None = None
    unit: str = ""
    factor: int = 100
    decimals: int = 3
    main: bool = True

    @property
    def title(self) -> str:
        """Label and unit of the value in a metrics file."""
        return self._with_unit(self.factor == 1)

    @property
    def published_title(self) -> str:
        """Label and unit of the published value."""
        return self._with_unit(True)

    @property
    def column(self) -> str:
        """Its column in the learning curve."""
        return f"val_{self.key.replace('.', '_')}"

    def text(self, value: float) -> str:
        """Return a value of a metrics file for people, as ``93.14 %``."""
        return f"{value:.{self.decimals}f}{f' {self.unit}' if self.unit and self.factor == 1 else ''}"

    def _with_unit(self, unit: bool) -> str:
        return f"{self.label} / {self.unit}" if unit and self.unit else self.label


@dataclass(frozen=True)
class Task:
    """One task of the paper.

    Attributes:
        name: of its data set, and of the task everywhere.
        heading: on the page.
        training: the stage that trains its models, and the page of parameters of that stage.
        wildcards: what tells its models apart.
        predictions: ending of the files with its predictions.
        size: height and width in pixels at which the papers count operations, where they name none.
        classifier: key of the tensor whose first dimension counts the classes.
        background: 1 if the last class of the classifier is the background.
        first_class: the data set's number of its first class.
        metrics: the first is what models are ranked by.
    """

    name: str
    heading: str
    training: str
    wildcards: tuple[str, ...]
    predictions: str
    size: tuple[int, int]
    classifier: str
    background: int
    first_class: int
    metrics: tuple[Metric, ...]

    @property
    def main(self) -> tuple[Metric, ...]:
        """The metrics that the page and the summary show."""
        return tuple(metric for metric in self.metrics if metric.main)

    @property
    def published(self) -> dict[str, Metric]:
        """The metrics that the papers print, by their published names."""
        return {metric.published: metric for metric in self.metrics if metric.published}

    @property
    def has_heads(self) -> bool:
        """Whether a variant is trained with several heads."""
        return "head" in self.wildcards


_COCO = tuple(
    Metric(f"{kind}.AP{bound}", f"{label} AP{bound}", f"ap{bound}_{label}", main=not bound)
    for kind, label in (("bbox", "box"), ("segm", "mask"))
    for bound in ("", "50", "75")
)

TASKS = {
    task.name: task
    for task in (
        Task(
            name="imagenet",
            heading="Classification (ImageNet layout)",
            training="pretrain",
            wildcards=("variant", "seed"),
            predictions="npz",
            size=(224, 224),
            classifier="head.weight",
            background=0,
            first_class=0,
            metrics=(
                Metric("top1", "top-1", "top1", "%", 1, 2),
                Metric("top5", "top-5", None, "%", 1, 2),
            ),
        ),
        Task(
            name="coco",
            heading="Detection and instance segmentation (COCO layout)",
            training="coco",
            wildcards=("variant", "seed"),
            predictions="json",
            size=(800, 1280),
            classifier="roi_head.bbox_head.fc_cls.weight",
            background=1,
            first_class=1,
            metrics=_COCO,
        ),
        Task(
            name="ade20k",
            heading="Semantic segmentation (ADE20K layout)",
            training="ade20k",
            wildcards=("variant", "head", "seed"),
            predictions="npz",
            size=(512, 512),
            classifier="decode_head.conv_seg.weight",
            background=0,
            first_class=1,
            metrics=(
                Metric("mIoU", "mIoU", "miou", "%"),
                Metric("mAcc", "mAcc", unit="%"),
                Metric("aAcc", "aAcc", unit="%"),
            ),
        ),
    )
}
