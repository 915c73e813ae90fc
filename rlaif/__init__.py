"""Reinforcement learning from AI feedback as a Lightning framework."""

__version__ = "0.1.0"
