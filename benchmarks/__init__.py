"""Experiments and the tables made from their results."""
