"""This machine: GPUs, CPU, memory, disks."""
