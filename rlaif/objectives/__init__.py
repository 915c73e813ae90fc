"""Objectives of policies: credit and losses of rollouts, losses of labeled pairs."""
