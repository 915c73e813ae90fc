"""Pure functions: losses, advantages, divergences, statistics."""
