"""The commands of operators: the API from a terminal or a script. They open no database."""

from . import bulk  # noqa: F401  (puts its commands among the orders')
