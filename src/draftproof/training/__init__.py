"""Drafts, heads, adapters and quantised drafts for a target of the user's; the refusal classifier."""
