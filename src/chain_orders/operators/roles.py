"""What a key lets its holder do, the least first. Apart from the tables, so that naming the roles loads none."""

from __future__ import annotations

from typing import Literal, get_args

Role = Literal["viewer", "operator", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
