"""Slurm, through its own commands: submission, the queue, and cancellation."""
