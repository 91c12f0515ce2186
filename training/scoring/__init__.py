"""Measures of models on held-out text, with the signature that gets each again."""
