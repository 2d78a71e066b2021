"""Committee programs on this node: inputs, sessions, inference, coming back."""
