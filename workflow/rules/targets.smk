"""Parts that one can ask for by name: a group of variants, one variant, one task, the released weights."""

for target in PIPELINE.parts():

    rule:
        name:
            target
        input:
            PIPELINE.files(target),
