"""Checks of command lines and of composed configurations; nothing heavy is imported."""
