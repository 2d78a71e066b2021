"""Pure cryptographic protocols: no clock, no socket, no random source, no trio."""
