# PaCa-ViT end to end. `snakemake --cores all` runs the miniature; `--config scale=paper` starts from the real archives.
from snakemake.utils import min_version

from pacavit import bridge

min_version("9.0")


include: "workflow/rules/common.smk"
include: "workflow/rules/prepare.smk"
include: "workflow/rules/pretrain.smk"
include: "workflow/rules/coco.smk"
include: "workflow/rules/ade20k.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/released.smk"
include: "workflow/rules/claims.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/targets.smk"


# All outputs, not the last ones alone: a stage that was killed is then seen whatever came of its successors.
rule all:
    default_target: True
    input:
        PIPELINE.files("all"),


onsuccess:
    bridge.finish(PIPELINE.scale)


onerror:
    bridge.finish(PIPELINE.scale)
