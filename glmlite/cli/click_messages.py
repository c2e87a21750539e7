"""Click's own messages in the language of ours.

Click looks every message up with the name `_` (or `ngettext`) that each of its modules imported
from `gettext`. gettext itself would need compiled catalogues and the process-wide LANGUAGE
variable; handing those modules our own lookup needs neither. `locale/zh/click.json` holds the
translations, and a message that it lacks stays English.
"""

from __future__ import annotations

import gettext
import sys

from glmlite.i18n import catalogue, language


def translate(message: str) -> str:
    """The template `message` in the current language, its placeholders untouched."""
    return message if language() == "en" else catalogue(language()).get(message, message)


def translate_plural(singular: str, plural: str, n: int) -> str:
    """`translate` for messages with a form for one and a form for many."""
    return translate(singular if n == 1 else plural)


def install() -> None:
    """Give every loaded module of click our lookup in place of gettext's; English: do nothing."""
    if language() == "en":
        return
    for name, module in list(sys.modules.items()):
        if name.startswith("click."):
            if getattr(module, "_", None) is gettext.gettext:
                module._ = translate  # type: ignore[attr-defined]
            if getattr(module, "ngettext", None) is gettext.ngettext:
                module.ngettext = translate_plural  # type: ignore[attr-defined]
