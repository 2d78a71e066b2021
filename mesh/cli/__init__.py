"""The command line: a thin client of the control API. Imports neither libp2p nor numpy."""
