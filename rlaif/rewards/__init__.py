"""Rewards of policies."""
