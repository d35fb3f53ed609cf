"""The training loop, and the loops beside it: what is read when, grown, delayed, by hand, killed and resumed, timed."""
