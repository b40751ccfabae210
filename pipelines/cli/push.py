"""`luthier push`: a version with its card on a model hub."""

import uuid
from typing import Annotated

import typer

from infra.launch.scratch import scratch
from infra.storage import hub
from pipelines.cli import screen, versions
from pipelines.cli.pull import belongs_on


def push(
    version: versions.Spec,
    hub_id: Annotated[str, typer.Argument(metavar="HUB-ID", help="organisation/name")],
    private: Annotated[bool, typer.Option("--private/--public", help="who may read it, if it is made now")] = True,
) -> None:
    """Put a version on the hub with its card, in one commit. The token is HF_TOKEN's, the hub HF_ENDPOINT's."""
    hub.require_id(hub_id)
    hub.require_token()
    found = versions.find(version)
    with scratch(found.platform.home / "work", f"push-{uuid.uuid4().hex}") as room:
        model = versions.fetch(found.platform, found.receipt, room / "merged") / "model"
        (model / "README.md").unlink(missing_ok=True)
        base = belongs_on(found) if found.base else ""
        (model / "README.md").write_text(found.readme(hub_id, base), encoding="utf-8")
        url = hub.publish(model, hub_id, private, f"{found.version} (content sha256 {found.version.content})")
    screen.say(f"{found.version} is at {url}")
    if base:
        screen.say(f'  PeftModel.from_pretrained(<its base>, "{hub_id}"): it belongs on {base}')
        return
    screen.say(f'  AutoModelForCausalLM.from_pretrained("{hub_id}"), AutoTokenizer.from_pretrained("{hub_id}")')
    screen.say(f"  vllm serve {hub_id}")
