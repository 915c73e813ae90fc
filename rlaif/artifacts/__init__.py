"""Outputs of stages, found by the fingerprint of what they were made from."""

from rlaif.artifacts.fingerprints import code_digest, fingerprint
from rlaif.artifacts.store import Store, atomic_file, atomic_write, link

__all__ = ["Store", "atomic_file", "atomic_write", "code_digest", "fingerprint", "link"]
