"""From raw text to what models learn from: corpora, cards, blocks, pairs and labelled examples."""
