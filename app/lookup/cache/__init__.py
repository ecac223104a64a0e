"""What was answered before: the protocol, and the stores behind it."""
