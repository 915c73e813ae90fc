"""A plan of comparisons labeled once: batches, costs, several processes."""
