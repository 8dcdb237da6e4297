"""Processes and machines: ranks, Slurm, interruption, precision, seeds and progress."""
