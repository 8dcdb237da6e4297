"""Top-1 and top-5 accuracy on the validation images of ImageNet-1k."""

from __future__ import annotations

from collections.abc import Callable

import torch
from PIL import Image
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, create_transform
from torch import distributed
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Subset
from tqdm import tqdm

import pacavit.models  # noqa: F401, registers the variants
from pacavit.data.imagenet import ImageNetShards
from pacavit.job import Job
from pacavit.params.pretrain import PretrainRecipe
from pacavit.runtime.distributed import rank, world_size
from pacavit.runtime.interruption import follow_the_training


def evaluation_transform(size: int, crop_pct: float) -> Callable[[Image.Image], torch.Tensor]:
    """Return timm's evaluation transform of an RGB image into (3, size, size): resize, centre crop, normalise.

    Args:
        size: side of the model's input, pixels.
        crop_pct: side of the crop over the resized short side.
    """
    return create_transform(
        size,
        is_training=False,
        crop_pct=crop_pct,
        interpolation="bicubic",
        mean=IMAGENET_DEFAULT_MEAN,
        std=IMAGENET_DEFAULT_STD,
    )


class Evaluated(Dataset):
    """A validation split through :func:`evaluation_transform`."""

    def __init__(self, images: ImageNetShards, size: int, crop_pct: float) -> None:
        self.images = images
        self.transform = evaluation_transform(size, crop_pct)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image, label = self.images[index]
        return self.transform(image), label


def validation_loader(job: Job, recipe: PretrainRecipe, batch_size: int, workers: int) -> DataLoader:
    """Return this process's share of the validation images, in order."""
    images = Evaluated(ImageNetShards(job.inputs["data"], "val"), recipe.image_size, recipe.crop_pct)
    share = Subset(images, range(rank(), len(images), world_size()))
    return DataLoader(
        share,
        batch_size=batch_size,
        num_workers=workers,
        worker_init_fn=follow_the_training,
    )


def predict(
    model: torch.nn.Module, loader: DataLoader, device: torch.device, precision: torch.dtype | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits (n, classes) in fp32 and labels (n,) of this process's images."""
    model.eval()
    all_logits, all_labels = [], []
    with torch.inference_mode():
        for inputs, labels in tqdm(loader, desc="validate", unit="batch", leave=False, disable=None):
            all_logits.append(classify(model, inputs, device, precision))
            all_labels.append(labels)
    return torch.cat(all_logits), torch.cat(all_labels)


def classify(
    model: torch.nn.Module, inputs: torch.Tensor, device: torch.device, precision: torch.dtype | None
) -> torch.Tensor:
    """Return the logits (n, classes) in fp32, on the CPU, of normed images (n, 3, size, size)."""
    with torch.autocast(device.type, precision, enabled=precision is not None):
        logits = model(inputs.to(device, memory_format=torch.channels_last))
    return logits.float().cpu()


def measure(
    model: torch.nn.Module, loader: DataLoader, device: torch.device, precision: torch.dtype | None
) -> dict[str, float]:
    """Return top-1 and top-5 in per cent and the cross-entropy, over the images of all processes."""
    logits, labels = predict(model, loader, device, precision)
    shares = accuracies(logits, labels)
    if world_size() == 1:
        return shares
    names = sorted(shares)
    sums = torch.tensor([shares[name] * len(labels) for name in names] + [len(labels)], device=device)
    distributed.all_reduce(sums)
    return {name: float(value / sums[-1]) for name, value in zip(names, sums, strict=False)}


def accuracies(logits: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """Return ``top1`` and ``top5`` in per cent and ``loss`` of logits (n, classes) against labels (n,)."""
    ranked = logits.topk(min(5, logits.shape[1])).indices == labels[:, None]
    return {
        "top1": 100.0 * ranked[:, 0].float().mean().item(),
        "top5": 100.0 * ranked.any(dim=1).float().mean().item(),
        "loss": F.cross_entropy(logits, labels).item(),
    }
