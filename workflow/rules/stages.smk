"""A rule for each stage of the table in src/pacavit/pipeline/table.py; `pacavit stages NAME` shows one filled in."""

for stage in table.STAGES.values():

    rule:
        name:
            stage.name
        input:
            **PIPELINE.input(stage.name, ancient),
        output:
            **PIPELINE.output(stage.name, report, directory),
        log:
            PIPELINE.log(stage.name),
        priority: stage.priority
        conda:
            "../envs/pacavit.yaml"
        threads: stage.threads
        resources:
            mem_mb=stage.mem_mb,
        params:
            command=PIPELINE.command(stage.name),
        # Where a scheduler signals all processes at once, the shell waits for the stage to end well.
        shell:
            "trap : TERM; PACAVIT_WORKERS=${{PACAVIT_WORKERS:-{threads}}} {params.command} > {log} 2>&1"


# Parts that one can ask for by name: a group of variants, one variant, one task, the released weights.
for target in PIPELINE.parts():

    rule:
        name:
            target
        input:
            PIPELINE.files(target),
