"""Measurements on the validation images."""


rule evaluate_imagenet:
    input:
        **PIPELINE.inputs("evaluate_imagenet"),
    output:
        metrics=report(
            PIPELINE.outputs("evaluate_imagenet")["metrics"],
            caption="../report/metrics.rst",
            category="Metrics",
            subcategory="imagenet",
        ),
        predictions=PIPELINE.outputs("evaluate_imagenet")["predictions"],
    log:
        PIPELINE.log("evaluate_imagenet"),
    conda:
        "../envs/pacavit.yaml"
    threads: 1
    resources:
        mem_mb=4000,
    params:
        values=PIPELINE.values("evaluate_imagenet"),
    shell:
        PIPELINE.command("evaluate_imagenet")


rule evaluate_coco:
    input:
        **PIPELINE.inputs("evaluate_coco"),
    output:
        metrics=report(
            PIPELINE.outputs("evaluate_coco")["metrics"],
            caption="../report/metrics.rst",
            category="Metrics",
            subcategory="coco",
        ),
        predictions=PIPELINE.outputs("evaluate_coco")["predictions"],
    log:
        PIPELINE.log("evaluate_coco"),
    conda:
        "../envs/pacavit.yaml"
    threads: 1
    resources:
        mem_mb=4000,
    params:
        values=PIPELINE.values("evaluate_coco"),
    shell:
        PIPELINE.command("evaluate_coco")


rule evaluate_ade20k:
    input:
        **PIPELINE.inputs("evaluate_ade20k"),
    output:
        metrics=report(
            PIPELINE.outputs("evaluate_ade20k")["metrics"],
            caption="../report/metrics.rst",
            category="Metrics",
            subcategory="ade20k",
        ),
        predictions=PIPELINE.outputs("evaluate_ade20k")["predictions"],
    log:
        PIPELINE.log("evaluate_ade20k"),
    conda:
        "../envs/pacavit.yaml"
    threads: 1
    resources:
        mem_mb=4000,
    params:
        values=PIPELINE.values("evaluate_ade20k"),
    shell:
        PIPELINE.command("evaluate_ade20k")


rule clusters:
    input:
        **PIPELINE.inputs("clusters"),
    output:
        measures=report(
            PIPELINE.outputs("clusters")["measures"],
            caption="../report/measures.rst",
            category="Clusters",
            subcategory="ade20k",
        ),
    log:
        PIPELINE.log("clusters"),
    conda:
        "../envs/pacavit.yaml"
    threads: 1
    resources:
        mem_mb=4000,
    params:
        values=PIPELINE.values("clusters"),
    shell:
        PIPELINE.command("clusters")
