"""Training for a target of the user's: drafts, heads, adapters, quantised drafts."""
