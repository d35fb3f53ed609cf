"""The transformer, its optimizers, and the precision that it computes in. It knows nothing of processes or loops."""
