"""Tickets, guests and admissions: how a stranger becomes a member."""
