"""What a learner works with: exercises, answers, hints, notebooks."""
