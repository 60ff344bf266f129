"""The study of defences: its records, attacks, arms, labels, contrasts and figures."""
