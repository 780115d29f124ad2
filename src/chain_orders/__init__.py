"""chain-orders: the marketplace's side of VTEX's chain-order protocol."""
