"""Semantic segmentation, from pretrained weights."""


rule ade20k:
    input:
        **PIPELINE.inputs("ade20k"),
    output:
        **PIPELINE.outputs("ade20k"),
    log:
        PIPELINE.log("ade20k"),
    priority: 1  # before what only evaluates and draws, which the end waits for less
    conda:
        "../envs/pacavit.yaml"
    threads: 1
    resources:
        mem_mb=4000,
    params:
        values=PIPELINE.values("ade20k"),
    shell:
        PIPELINE.command("ade20k")
