"""What the target says about one position of an answer: local, over HTTP, in batches."""
