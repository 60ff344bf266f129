"""What a configuration promises about its answers, without running it."""
