"""Archives of each data set, and what is made of them."""


rule archives_imagenet:
    output:
        **PIPELINE.outputs("archives_imagenet"),
    log:
        PIPELINE.log("archives_imagenet"),
    conda:
        "../envs/pacavit.yaml"
    params:
        values=PIPELINE.values("archives_imagenet"),
    shell:
        PIPELINE.command("archives_imagenet")


rule prepare_imagenet:
    input:
        **PIPELINE.inputs("prepare_imagenet"),
    output:
        data=directory(PIPELINE.outputs("prepare_imagenet")["data"]),
    log:
        PIPELINE.log("prepare_imagenet"),
    conda:
        "../envs/pacavit.yaml"
    params:
        values=PIPELINE.values("prepare_imagenet"),
    shell:
        PIPELINE.command("prepare_imagenet")


rule archives_coco:
    output:
        **PIPELINE.outputs("archives_coco"),
    log:
        PIPELINE.log("archives_coco"),
    conda:
        "../envs/pacavit.yaml"
    params:
        values=PIPELINE.values("archives_coco"),
    shell:
        PIPELINE.command("archives_coco")


rule prepare_coco:
    input:
        **PIPELINE.inputs("prepare_coco"),
    output:
        data=directory(PIPELINE.outputs("prepare_coco")["data"]),
    log:
        PIPELINE.log("prepare_coco"),
    conda:
        "../envs/pacavit.yaml"
    params:
        values=PIPELINE.values("prepare_coco"),
    shell:
        PIPELINE.command("prepare_coco")


rule archives_ade20k:
    output:
        **PIPELINE.outputs("archives_ade20k"),
    log:
        PIPELINE.log("archives_ade20k"),
    conda:
        "../envs/pacavit.yaml"
    params:
        values=PIPELINE.values("archives_ade20k"),
    shell:
        PIPELINE.command("archives_ade20k")


rule prepare_ade20k:
    input:
        **PIPELINE.inputs("prepare_ade20k"),
    output:
        data=directory(PIPELINE.outputs("prepare_ade20k")["data"]),
    log:
        PIPELINE.log("prepare_ade20k"),
    conda:
        "../envs/pacavit.yaml"
    params:
        values=PIPELINE.values("prepare_ade20k"),
    shell:
        PIPELINE.command("prepare_ade20k")
