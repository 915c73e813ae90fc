"""The console commands ``rlaif-run``, ``rlaif-plugins``, ``rlaif-labels``, ``rlaif-runs`` and ``rlaif-bandit``."""
