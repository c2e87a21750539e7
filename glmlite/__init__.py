"""glmlite: from a trained ChatGLM2/ChatGLM3 to an answer.

    path = glmlite.export("glm2_6b", checkpoint="chatglm2-6b", output="bundle")
    with glmlite.load(path) as model:
        for piece in model.chat([{"role": "user", "content": "你好"}]):
            print(piece.text, end="", flush=True)

Everything is loaded when it is first used; `import glmlite` itself costs next to nothing.
"""

from __future__ import annotations

# Nothing that takes milliseconds: until the command line has begun, Ctrl-C gives a traceback.
import importlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from glmlite.api import export, quantize
    from glmlite.errors import GlmliteError
    from glmlite.runtime.generation import Piece
    from glmlite.runtime.model import Model, load
    from glmlite.runtime.session import Session
    from glmlite.text.tokenizer import Tokenizer

__version__ = "0.1.0"
__all__ = [
    "GlmliteError",
    "Model",
    "Piece",
    "Session",
    "Tokenizer",
    "__version__",
    "export",
    "load",
    "quantize",
]

_LAZY = {
    "GlmliteError": "glmlite.errors",
    "Model": "glmlite.runtime.model",
    "Piece": "glmlite.runtime.generation",
    "Session": "glmlite.runtime.session",
    "Tokenizer": "glmlite.text.tokenizer",
    "export": "glmlite.api",
    "load": "glmlite.runtime.model",
    "quantize": "glmlite.api",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'glmlite' has no attribute {name!r}")


def __dir__() -> list[str]:
    # Completion shows what is loaded on demand, and not what this module itself imports.
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
