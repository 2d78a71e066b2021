"""Benchmarks that stay useful."""
