"""What the project itself is made with; none of it is installed."""
