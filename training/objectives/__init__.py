"""What an encoder may learn beside masked language modelling: one file an objective."""
