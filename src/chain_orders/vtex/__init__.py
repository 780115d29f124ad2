"""VTEX's wire: its addresses, its messages, its error codes, and a client. Knows no table and no seller on record."""
