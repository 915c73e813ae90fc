"""Figures of labelers, reward models and policies, each declared where it is computed."""
