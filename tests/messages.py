"""The messages of the console for whoever translates it: `make messages` writes them to console/locale/console.pot.

They stand in the templates, in the console's modules, in the problems that the service raises, and in VTEX's codes.
"""

from __future__ import annotations

import io
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import write_po

from chain_orders.errors import Problem
from chain_orders.vtex import codes

SOURCE = Path(__file__).parents[1] / "src" / "chain_orders"
POT = SOURCE / "console" / "locale" / "console.pot"
_SECOND, _THIRD = (2,), (3,)
_KEYWORDS = {
    "_": None,
    "N_": None,
    "ngettext": (1, 2),
    "Sentence": None,
    "in_words": None,
    "PydanticCustomError": _SECOND,
    "Finding": (4,),
    "Fault": _THIRD,
    **dict.fromkeys(("Problem", *(kind.__name__ for kind in Problem.__subclasses__())), _SECOND),
}
_METHODS = [("console/templates/**.html", "jinja2"), ("simulator/**.py", "ignore"), ("**.py", "python")]
_OPTIONS = {"console/templates/**.html": {"newstyle_gettext": "true", "trimmed": "true", "silent": "false"}}


def catalogue() -> Catalog:
    """Every message."""
    found = Catalog(project="chain-orders", charset="utf-8")
    extracted = extract_from_dir(SOURCE, _METHODS, _OPTIONS, _KEYWORDS)
    messages = [message for _file, _line, message, _comments, _context in extracted if message]
    for message in (*messages, *(one for code in codes.CODES.values() for one in codes.meaning(code))):
        found.add(message)
    return found


def written() -> str:
    """The file: sorted, and without places and dates, so that it changes with the messages alone."""
    file = io.BytesIO()
    write_po(file, catalogue(), width=100, omit_header=True, sort_output=True, no_location=True)
    return _HEADER + file.getvalue().decode()


_HEADER = """\
msgid ""
msgstr ""
"Project-Id-Version: chain-orders\\n"
"MIME-Version: 1.0\\n"
"Content-Type: text/plain; charset=utf-8\\n"
"Content-Transfer-Encoding: 8bit\\n"

"""


if __name__ == "__main__":
    POT.parent.mkdir(exist_ok=True)
    POT.write_text(written())
