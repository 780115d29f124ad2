"""The addresses that sellers call."""
