"""`python -m chain_orders` is the command `chain-orders`."""

from .cli import main

main()
