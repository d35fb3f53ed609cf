"""Policies that see, read and act: grid worlds, demonstrations, cloning, rollouts."""
