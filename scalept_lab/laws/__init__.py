"""Scaling laws: their formulas, how they are fitted, how sure one can be, and how runs compare. No torch."""
