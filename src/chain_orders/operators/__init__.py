"""The operators' side: the REST API, its keys and roles."""
