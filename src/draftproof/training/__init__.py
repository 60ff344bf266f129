"""Drafts, heads and experts for a target of the user's: training and quantisation."""
