"""Stands where a model would: repeats words or how it was loaded, and misbehaves when it is told to. Run as `python -m tests.chatter`."""

import os
import sys
import time

from infra.errors import Refused
from infra.launch.dialogue import Ask, Listener, Told


def answer(ask: Ask, listener: Listener, loaded: Ask | None) -> Told:
    text, said = ask.messages[-1].content, ""
    if text == "crash":
        os._exit(3)
    if text == "refuse":
        return Told(kind="failed", error=Refused("that is too long", remedy="say less").report())
    if text == "loaded" and loaded is not None:
        return Told(kind="done", text=loaded.model_dump_json())
    words = iter(lambda: "la", "") if text == "sing" else iter(text.split())
    for word in words:
        if listener.stop.is_set():
            return Told(kind="done", text=said, tokens=1, seconds=1, ended="stopped")
        listener.tell(Told(kind="token", text=word + " "))
        said += word + " "
        time.sleep(0.001 if text == "sing" else 0)
    return Told(kind="done", text=said, tokens=len(said.split()), seconds=1, ended="eos")


def main() -> None:
    listener = Listener()
    sys.stdout.write("a library says hello\n")
    loaded: Ask | None = None
    for ask in listener.asked():
        loaded = ask if ask.do == "load" else loaded
        if ask.messages and ask.messages[-1].content == "hang":
            continue
        listener.tell(
            Told(kind="ready", device=str(os.getpid())) if ask.do == "load" else answer(ask, listener, loaded)
        )


if __name__ == "__main__":
    main()
