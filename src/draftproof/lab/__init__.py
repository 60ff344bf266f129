"""The small models that ship, and how they are read."""
