"""A data set that outlives its device: shares at holders, renewed, moved, read and erased."""
