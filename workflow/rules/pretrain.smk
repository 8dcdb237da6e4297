"""Classification, from random weights."""


rule pretrain:
    input:
        **PIPELINE.inputs("pretrain"),
    output:
        **PIPELINE.outputs("pretrain"),
    log:
        PIPELINE.log("pretrain"),
    conda:
        "../envs/pacavit.yaml"
    threads: 2
    resources:
        mem_mb=4000,
    params:
        values=PIPELINE.values("pretrain"),
    shell:
        PIPELINE.command("pretrain")
