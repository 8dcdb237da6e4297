"""Published numbers against measured ones."""


rule complexity:
    input:
        **PIPELINE.inputs("complexity"),
    output:
        complexity=PIPELINE.outputs("complexity")["complexity"],
    log:
        PIPELINE.log("complexity"),
    conda:
        "../envs/pacavit.yaml"
    threads: 1
    resources:
        mem_mb=3000,
    params:
        values=PIPELINE.values("complexity"),
    shell:
        PIPELINE.command("complexity")


rule costs:
    input:
        **PIPELINE.inputs("costs"),
    output:
        **PIPELINE.outputs("costs"),
    log:
        PIPELINE.log("costs"),
    conda:
        "../envs/pacavit.yaml"
    threads: 1
    resources:
        mem_mb=2000,
    params:
        values=PIPELINE.values("costs"),
    shell:
        PIPELINE.command("costs")


rule claims:
    input:
        PIPELINE.gathered("claims"),
        **PIPELINE.inputs("claims"),
    output:
        **{
            name: report(
                path, caption="../report/tables.rst", category="Result tables"
            )
            for name, path in PIPELINE.outputs("claims").items()
            if name != "ledger"
        },
        ledger=report(
            PIPELINE.outputs("claims")["ledger"],
            caption="../report/claims.rst",
            category="Published numbers",
        ),
    log:
        PIPELINE.log("claims"),
    conda:
        "../envs/pacavit.yaml"
    threads: 1
    resources:
        mem_mb=2000,
    params:
        values=PIPELINE.values("claims"),
    shell:
        PIPELINE.command("claims")
