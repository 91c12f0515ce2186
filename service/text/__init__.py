"""What is done to a text before it is encoded and after it is decoded; no model runs here."""
