"""How a block of tokens becomes logits: torch modules, and our own leaner forms of them."""
