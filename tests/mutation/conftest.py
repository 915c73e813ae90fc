"""Mutation testing is done by hand: without the extra [dev] nothing here is collected."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("cosmic_ray") and find_spec("coverage") else ["*.py"]
