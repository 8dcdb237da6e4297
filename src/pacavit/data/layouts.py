"""Official names of the archives of each data set."""

from __future__ import annotations

#: Archives by data set, each under the name that the code uses for it.
ARCHIVE_FILES = {
    "imagenet": {
        "train": "ILSVRC2012_img_train.tar",
        "val": "ILSVRC2012_img_val.tar",
        "devkit": "ILSVRC2012_devkit_t12.tar.gz",
    },
    "coco": {
        "train": "train2017.zip",
        "val": "val2017.zip",
        "annotations": "annotations_trainval2017.zip",
    },
    "ade20k": {"all": "ADEChallengeData2016.zip"},
}
