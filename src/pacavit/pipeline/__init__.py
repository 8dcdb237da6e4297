"""The pipeline: one table of stages, from which Snakemake's rules and ``dvc.yaml`` are made."""
