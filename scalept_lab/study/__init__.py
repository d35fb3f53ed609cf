"""Many runs under a budget: sweeps, a sealed prediction, the standard study, its report."""
