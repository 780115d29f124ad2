"""What sellers told us: kept raw, answered once, applied in order."""
