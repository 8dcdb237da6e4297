"""Figures of each trained model, and the page that shows them."""


rule figures_imagenet:
    input:
        **PIPELINE.inputs("figures_imagenet"),
    output:
        curve=report(
            PIPELINE.outputs("figures_imagenet")["curve"],
            caption="../report/curve.rst",
            category="Learning curves",
            subcategory="imagenet",
        ),
        predictions=report(
            PIPELINE.outputs("figures_imagenet")["predictions"],
            caption="../report/predictions.rst",
            category="Predictions",
            subcategory="imagenet",
        ),
        clusters=report(
            PIPELINE.outputs("figures_imagenet")["clusters"],
            caption="../report/clusters.rst",
            category="Clusters",
            subcategory="imagenet",
        ),
        assignments=report(
            PIPELINE.outputs("figures_imagenet")["assignments"],
            caption="../report/assignments.rst",
            category="Clusters",
            subcategory="imagenet",
        ),
        attention=report(
            PIPELINE.outputs("figures_imagenet")["attention"],
            caption="../report/attention.rst",
            category="Clusters",
            subcategory="imagenet",
        ),
        view=PIPELINE.outputs("figures_imagenet")["view"],
    log:
        PIPELINE.log("figures_imagenet"),
    conda:
        "../envs/pacavit.yaml"
    threads: 1
    resources:
        mem_mb=2000,
    params:
        values=PIPELINE.values("figures_imagenet"),
    shell:
        PIPELINE.command("figures_imagenet")


rule figures_coco:
    input:
        **PIPELINE.inputs("figures_coco"),
    output:
        curve=report(
            PIPELINE.outputs("figures_coco")["curve"],
            caption="../report/curve.rst",
            category="Learning curves",
            subcategory="coco",
        ),
        predictions=report(
            PIPELINE.outputs("figures_coco")["predictions"],
            caption="../report/predictions.rst",
            category="Predictions",
            subcategory="coco",
        ),
        clusters=report(
            PIPELINE.outputs("figures_coco")["clusters"],
            caption="../report/clusters.rst",
            category="Clusters",
            subcategory="coco",
        ),
        assignments=report(
            PIPELINE.outputs("figures_coco")["assignments"],
            caption="../report/assignments.rst",
            category="Clusters",
            subcategory="coco",
        ),
        attention=report(
            PIPELINE.outputs("figures_coco")["attention"],
            caption="../report/attention.rst",
            category="Clusters",
            subcategory="coco",
        ),
        view=PIPELINE.outputs("figures_coco")["view"],
    log:
        PIPELINE.log("figures_coco"),
    conda:
        "../envs/pacavit.yaml"
    threads: 1
    resources:
        mem_mb=2000,
    params:
        values=PIPELINE.values("figures_coco"),
    shell:
        PIPELINE.command("figures_coco")


rule figures_ade20k:
    input:
        **PIPELINE.inputs("figures_ade20k"),
    output:
        curve=report(
            PIPELINE.outputs("figures_ade20k")["curve"],
            caption="../report/curve.rst",
            category="Learning curves",
            subcategory="ade20k",
        ),
        predictions=report(
            PIPELINE.outputs("figures_ade20k")["predictions"],
            caption="../report/predictions.rst",
            category="Predictions",
            subcategory="ade20k",
        ),
        clusters=report(
            PIPELINE.outputs("figures_ade20k")["clusters"],
            caption="../report/clusters.rst",
            category="Clusters",
            subcategory="ade20k",
        ),
        assignments=report(
            PIPELINE.outputs("figures_ade20k")["assignments"],
            caption="../report/assignments.rst",
            category="Clusters",
            subcategory="ade20k",
        ),
        attention=report(
            PIPELINE.outputs("figures_ade20k")["attention"],
            caption="../report/attention.rst",
            category="Clusters",
            subcategory="ade20k",
        ),
        view=PIPELINE.outputs("figures_ade20k")["view"],
    log:
        PIPELINE.log("figures_ade20k"),
    conda:
        "../envs/pacavit.yaml"
    threads: 1
    resources:
        mem_mb=2000,
    params:
        values=PIPELINE.values("figures_ade20k"),
    shell:
        PIPELINE.command("figures_ade20k")


rule overview:
    input:
        **PIPELINE.inputs("overview"),
    output:
        **{
            name: report(path, caption="../report/overview.rst", category="Overview")
            for name, path in PIPELINE.outputs("overview").items()
        },
    log:
        PIPELINE.log("overview"),
    conda:
        "../envs/pacavit.yaml"
    threads: 1
    resources:
        mem_mb=2000,
    params:
        values=PIPELINE.values("overview"),
    shell:
        PIPELINE.command("overview")


rule report:
    input:
        PIPELINE.gathered("report"),
        **PIPELINE.inputs("report"),
    output:
        page=report(
            PIPELINE.outputs("report")["page"],
            caption="../report/page.rst",
            category="Report",
        ),
    log:
        PIPELINE.log("report"),
    conda:
        "../envs/pacavit.yaml"
    params:
        values=PIPELINE.values("report"),
    shell:
        PIPELINE.command("report")
