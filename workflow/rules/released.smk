"""The authors' weights, measured as our own are; no training."""


rule released_imagenet:
    input:
        **PIPELINE.inputs("released_imagenet"),
    output:
        **PIPELINE.outputs("released_imagenet"),
    log:
        PIPELINE.log("released_imagenet"),
    conda:
        "../envs/pacavit.yaml"
    threads: 1
    resources:
        mem_mb=4000,
    params:
        values=PIPELINE.values("released_imagenet"),
    shell:
        PIPELINE.command("released_imagenet")


rule evaluate_released_imagenet:
    input:
        **PIPELINE.inputs("evaluate_released_imagenet"),
    output:
        metrics=report(
            PIPELINE.outputs("evaluate_released_imagenet")["metrics"],
            caption="../report/released.rst",
            category="Released weights",
            subcategory="imagenet",
        ),
        predictions=PIPELINE.outputs("evaluate_released_imagenet")["predictions"],
    log:
        PIPELINE.log("evaluate_released_imagenet"),
    conda:
        "../envs/pacavit.yaml"
    threads: 1
    resources:
        mem_mb=4000,
    params:
        values=PIPELINE.values("evaluate_released_imagenet"),
    shell:
        PIPELINE.command("evaluate_released_imagenet")


rule released_coco:
    input:
        **PIPELINE.inputs("released_coco"),
    output:
        **PIPELINE.outputs("released_coco"),
    log:
        PIPELINE.log("released_coco"),
    conda:
        "../envs/pacavit.yaml"
    threads: 1
    resources:
        mem_mb=4000,
    params:
        values=PIPELINE.values("released_coco"),
    shell:
        PIPELINE.command("released_coco")


rule evaluate_released_coco:
    input:
        **PIPELINE.inputs("evaluate_released_coco"),
    output:
        metrics=report(
            PIPELINE.outputs("evaluate_released_coco")["metrics"],
            caption="../report/released.rst",
            category="Released weights",
            subcategory="coco",
        ),
        predictions=PIPELINE.outputs("evaluate_released_coco")["predictions"],
    log:
        PIPELINE.log("evaluate_released_coco"),
    conda:
        "../envs/pacavit.yaml"
    threads: 1
    resources:
        mem_mb=4000,
    params:
        values=PIPELINE.values("evaluate_released_coco"),
    shell:
        PIPELINE.command("evaluate_released_coco")


rule released_ade20k:
    input:
        **PIPELINE.inputs("released_ade20k"),
    output:
        **PIPELINE.outputs("released_ade20k"),
    log:
        PIPELINE.log("released_ade20k"),
    conda:
        "../envs/pacavit.yaml"
    threads: 1
    resources:
        mem_mb=4000,
    params:
        values=PIPELINE.values("released_ade20k"),
    shell:
        PIPELINE.command("released_ade20k")


rule evaluate_released_ade20k:
    input:
        **PIPELINE.inputs("evaluate_released_ade20k"),
    output:
        metrics=report(
            PIPELINE.outputs("evaluate_released_ade20k")["metrics"],
            caption="../report/released.rst",
            category="Released weights",
            subcategory="ade20k",
        ),
        predictions=PIPELINE.outputs("evaluate_released_ade20k")["predictions"],
    log:
        PIPELINE.log("evaluate_released_ade20k"),
    conda:
        "../envs/pacavit.yaml"
    threads: 1
    resources:
        mem_mb=4000,
    params:
        values=PIPELINE.values("evaluate_released_ade20k"),
    shell:
        PIPELINE.command("evaluate_released_ade20k")
