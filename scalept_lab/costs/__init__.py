"""What training takes before anything trains: parameters, FLOPs, memory, messages, step times. Arithmetic only, no torch."""
