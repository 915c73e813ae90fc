"""Where a run's data come from."""
