"""Other systems on the same weights, each with its best settings, beside ours in one run."""
