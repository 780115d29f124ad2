"""Facts in the order they became known: an order's timeline and the marketplace's feed."""
