"""Graders in Python for reinforcement: their file, their process, a trial on rows, and Lambda."""
