"""Audit of one deployment: whose answers, and what they say of one target."""
