"""Personal data goes when it must: some time after an order is final, or at once on request."""
