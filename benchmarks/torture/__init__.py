"""Hostile files, odd objects and killed processes, thousands of them, by hand: `make torture`."""
