"""torchmetrics over ``rlaif.functional``: any sharding of the rows gives the same figures."""
