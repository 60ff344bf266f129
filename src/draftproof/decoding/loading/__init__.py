"""A checkpoint before it is loaded: its files, and what loading them takes of the machine."""
