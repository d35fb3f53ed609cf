"""One run on many processes: started, spread, cut into stages, watched by the byte, kept in checkpoints."""
