"""Examples and batches for training."""
