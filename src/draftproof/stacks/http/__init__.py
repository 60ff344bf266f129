"""Answers over HTTP: any OpenAI-compatible server, somebody else's or one that draftproof starts."""
