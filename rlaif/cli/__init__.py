"""The console commands ``rlaif-run``, ``rlaif-plugins``, ``rlaif-labels`` and ``rlaif-runs``."""
