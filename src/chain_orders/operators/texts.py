"""The texts that operators give: the form of each, and the same in words for whoever sends one that does not fit."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import StringConstraints, ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticCustomError


def in_words(told: str) -> WrapValidator:
    """The pattern of a text, in words for whoever sends one that does not fit."""

    def check(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
        try:
            return read(value)
        except ValidationError as wrong:
            if wrong.errors()[0]["type"] != "string_pattern_mismatch":
                raise
            raise PydanticCustomError("malformed", "{told}", {"told": told}) from None

    return WrapValidator(check)


SellerId = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$"),
    in_words("must be 1 to 63 small letters, digits or '-', and not begin with '-'"),
]
Secret = Annotated[
    str,
    StringConstraints(pattern=r"^[\x21-\x7e]{1,256}$"),
    in_words("must be 1 to 256 ASCII characters without blanks"),
]
Affiliate = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9]{2,3}$"), in_words("must be 2 or 3 letters or digits")
]
Channel = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,10}$"), in_words("must be 1 to 10 digits")]
Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$"), in_words("must be 3 capital letters, such as BRL")]
Country = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$"), in_words("must be 3 capital letters, such as BRA")]
KeyName = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9 ._@-]{0,61}[A-Za-z0-9._@-])?$"),
    in_words("must be 1 to 63 letters, digits, blanks or . _ @ -, and begin with a letter or digit"),
]
