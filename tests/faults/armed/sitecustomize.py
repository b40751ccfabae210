"""Every Python that starts with this folder on its path strikes where fault.json beside this file says, once in all.

Nothing of it is in the code that is struck: the named module's function is wrapped as the module is imported.
"""

import functools
import importlib.abc
import importlib.util
import json
import os
import re
import signal
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

HERE = Path(__file__).parent
ACTS: dict[str, Callable[[], object]] = {
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "leave": lambda: os.kill(os.getpid(), signal.SIGTERM),
}


class Fault(importlib.abc.MetaPathFinder):
    """Waits for the module of which one function is to strike."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.told, self.calls = told, 0

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        if name != self.told["module"]:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def executed(module: ModuleType) -> None:
                execute(module)
                self._wrap(module)

            spec.loader.exec_module = executed  # type: ignore[method-assign]
        return spec

    def _wrap(self, module: ModuleType) -> None:
        *owners, name = self.told["function"].split(".")
        owner: Any = functools.reduce(getattr, owners, module)
        found = vars(owner)[name]
        inner = found.__func__ if isinstance(found, staticmethod) else found

        @functools.wraps(inner)
        def struck(*args: Any, **kwargs: Any) -> Any:
            due = self._due(args, kwargs)
            if due and self.told["when"] == "before":
                self._strike()
            result = inner(*args, **kwargs)
            if due and self.told["when"] == "after":
                self._strike()
            return result

        setattr(owner, name, staticmethod(struck) if isinstance(found, staticmethod) else struck)

    def _due(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        if not re.search(self.told["match"], repr((args, kwargs))):
            return False
        self.calls += 1
        return bool(self.calls == self.told["nth"])

    def _strike(self) -> None:
        try:
            (HERE / "struck").touch(exist_ok=False)
        except FileExistsError:
            return
        ACTS[self.told["act"]]()


sys.meta_path.insert(0, Fault(json.loads((HERE / "fault.json").read_text())))
