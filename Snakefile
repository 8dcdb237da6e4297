# PaCa-ViT end to end. `snakemake --cores all` runs the miniature; `--config scale=paper` starts from the real archives.
from snakemake.utils import min_version

from pacavit.pipeline import rules as pipeline, table
from pacavit.tasks import HEADS

min_version("9.0")

PIPELINE = pipeline.begin(config, workflow)


wildcard_constraints:
    variant=r"[a-z0-9_]+",
    head="|".join(HEADS),
    seed=r"[0-9]+",


include: "workflow/rules/stages.smk"


rule all:
    default_target: True
    input:
        PIPELINE.files("all"),


onsuccess:
    PIPELINE.finish()


onerror:
    PIPELINE.finish()
