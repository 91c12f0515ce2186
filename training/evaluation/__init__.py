"""What the command line scores: a base's modules, runs, and what stands beside them."""
