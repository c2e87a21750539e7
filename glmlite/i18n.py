"""Messages in English and Chinese.

The English text *is* the key (as in gettext), so code reads naturally; translations live in
`glmlite/locale/zh/*.json`, one flat object per area. A test collects every message from the source
and fails when a translation is missing or its placeholders differ.
"""

from __future__ import annotations

import functools
import json
import locale
import os
from pathlib import Path

LOCALE_DIR = Path(__file__).parent / "locale"
LANGUAGES = ("en", "zh")


@functools.lru_cache(maxsize=1)
def language() -> str:
    """The language of messages: `GLMLITE_LANG` if set, else the locale's; "en" or "zh"."""
    for value in (
        os.environ.get("GLMLITE_LANG"),
        os.environ.get("LC_ALL"),
        os.environ.get("LC_MESSAGES"),
        os.environ.get("LANG"),
        locale.getlocale()[0],
    ):
        if value:
            return "zh" if value.lower().startswith(("zh", "chinese")) else "en"
    return "en"


@functools.lru_cache(maxsize=len(LANGUAGES))
def catalogue(lang: str) -> dict[str, str]:
    """All translations into `lang`: English text to translated text."""
    merged: dict[str, str] = {}
    for path in sorted((LOCALE_DIR / lang).glob("*.json")):
        merged.update(json.loads(path.read_text(encoding="utf-8")))
    return merged


def _(message: str, /, **params: object) -> str:
    """Translate `message` and fill in its `{placeholders}`.

    `message` must be a literal: the test that guards the catalogue reads it from the source.
    """
    if language() != "en":
        message = catalogue(language()).get(message, message)
    return message.format(**params) if params else message
