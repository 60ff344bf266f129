"""What is counted of answers and pairs."""
