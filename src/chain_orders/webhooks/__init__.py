"""Events told to whoever subscribed, in the Standard Webhooks form, by the same engine that calls sellers."""
