"""How anything trains here: Hugging Face's Trainer, its checkpoints, its rates, its loss."""
