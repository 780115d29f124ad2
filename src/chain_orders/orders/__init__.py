"""Orders and their chain orders: the states they may be in and the acts that move them."""
