"""Calls that are owed: queued with the change that owes them, sent one at a time per order, settled once."""
