"""Runs a list of steps: binds what they read, stores what they leave, shows what they tell. It names no stage."""
