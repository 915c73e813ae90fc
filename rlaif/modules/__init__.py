"""LightningModules for SFT, reward model and policy, with their settings."""
