"""`luthier doctor`: what is wrong before a run, and what to do about it."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Annotated

import typer

from infra import settings
from infra.doctor import devices, machine, servers
from infra.doctor.finding import Finding
from infra.doctor.hosts import hosts
from infra.doctor.kubernetes import kubernetes
from infra.doctor.shards import shards
from infra.doctor.slurm import slurm
from infra.doctor.store import store
from infra.errors import BadRecipe
from pipelines.cli import screen

CLUSTERS = {"slurm": slurm, "hosts": hosts, "kubernetes": kubernetes}
COLOURS = {"ok": "green", "note": "blue", "warn": "yellow", "bad": "red"}


def doctor(
    json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    gpus: Annotated[
        bool, typer.Option(help="also load torch, and let processes hear each other (10 s and more)")
    ] = True,
    launcher: Annotated[
        str,
        typer.Option(
            help="slurm: look at the cluster too, by a short job; hosts: by ssh; kubernetes: by its API; default: as the profile says"
        ),
    ] = "",
) -> None:
    """Check this machine, its store and its servers, and name the remedy for what is wrong.

    Looks at what the environment names, or at the stack that `luthier up` started: settings, versions, disk, memory,
    compiler, GPUs and their collectives; the store's rights, conditional writes and clock; Prefect, MLflow, the hub;
    the cluster of LUTHIER_SHARDS; Slurm, hosts or Kubernetes, where stages run on them.
    Exit status 0 when runs can work here, 1 otherwise. It leaves nothing behind.
    """
    found = []
    for finding in _findings(gpus, launcher):
        found.append(finding)
        if not json:
            _tell(finding)
    wrong = sum(finding.state == "bad" for finding in found)
    if json:
        screen.as_json([finding.model_dump() for finding in found])
    else:
        screen.say(f"\n{wrong} to be mended" if wrong else "\nall is well: runs can work here")
    raise typer.Exit(1 if wrong else 0)


def _findings(gpus: bool, launcher: str) -> Iterator[Finding]:
    yield machine.settings()
    yield from machine.packages()
    yield machine.memory()
    yield machine.compiler()
    with suppress(BadRecipe):  # a value that cannot be read was told above
        own = settings.load()
        yield machine.home(own)
        yield servers.stack(own.home.absolute())
        yield store(own)
        if own.shards:
            yield shards(own)
        for name in CLUSTERS.keys() & ({launcher} if launcher else own.site().profile.launchers()):
            yield from CLUSTERS[name](own)
        yield servers.mlflow(own)
    yield servers.proxies()
    yield servers.prefect()
    yield servers.hub()
    if gpus:
        yield from devices.devices()


def _tell(finding: Finding) -> None:
    mark = typer.style(finding.state.ljust(5), fg=COLOURS[finding.state])
    typer.echo(f"{mark} {finding.check.ljust(20)} ", nl=False)
    screen.say(finding.said)
    if finding.remedy:
        screen.say(f"{'':26} → {finding.remedy}")
