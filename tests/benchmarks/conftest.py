"""Benchmarks are no tests, but their doctests are collected: not those that need a library that is not installed."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("trl") else ["training.py", "training_trl.py"]
