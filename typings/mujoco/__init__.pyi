# MuJoCo's names come from compiled modules without stubs: pyright finds none of them by itself.
from typing import Any

def __getattr__(name: str) -> Any: ...
