"""The stack's own rounding: measured on its answers, and what no rounding of it explains."""
