"""Rounds of federated training, their models and recipes."""
