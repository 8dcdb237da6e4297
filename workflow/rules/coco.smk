"""Detection and instance segmentation, from pretrained weights."""


rule coco:
    input:
        **PIPELINE.inputs("coco"),
    output:
        **PIPELINE.outputs("coco"),
    log:
        PIPELINE.log("coco"),
    priority: 1  # before what only evaluates and draws, which the end waits for less
    conda:
        "../envs/pacavit.yaml"
    threads: 1
    resources:
        mem_mb=4000,
    params:
        values=PIPELINE.values("coco"),
    shell:
        PIPELINE.command("coco")
