"""Answers that others recorded, read from their own formats."""
