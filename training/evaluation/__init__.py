"""Scores of bases, modules and what stands beside them, each with its signature."""
