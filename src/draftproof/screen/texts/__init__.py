"""What answers look like as texts: defects, fit to a prompt, and copies with a planted flip."""
