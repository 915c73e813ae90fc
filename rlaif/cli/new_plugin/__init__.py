"""Packages to start a plugin from: ``rlaif-plugins new KIND NAME``."""
