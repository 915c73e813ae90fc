"""The pipeline: binds the inputs of steps, stores their results, and shows their reports. It names no stage."""
