"""Answers over HTTP: any OpenAI-compatible server, ours to start or not."""
