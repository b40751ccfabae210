"""Before anything is fetched: nodes that are to train together are alike, have room, and reach each other."""

import logging
import platform
import shutil
import sys
import time

from infra.errors import Unreachable
from infra.frozen import Frozen
from infra.launch.links import Door, Links, Reached, Spot
from infra.launch.peers import Peers
from infra.launch.preflight import Facts, compare, installed, network, skewed
from infra.launch.work import Work, code
from infra.storage.receipt import Manifest
from tasks.training import zero
from tasks.training.config import TrainConfig
from tasks.training.presence import ADDED, Added
from tasks.training.ranks import gpus

log = logging.getLogger(__name__)

REACH_S = 30.0  # for ways that do not serve at once
ANSWER_S = 120.0  # for a node that lives to have knocked at all doors
_ALWAYS = ("torch", "transformers", "accelerate")
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_MOMENTS = 8  # bytes a parameter: AdamW's two in float32


class Roster(Frozen):
    """Where the doors of all nodes are, as the first node tells."""

    spots: list[Spot]


def check(job: Work[TrainConfig], peers: Peers, door: Door) -> Links:
    """This node's ways to the others, all of which serve. BadNodes where nodes are not alike, Lost where one has no room,
    Unreachable where some do not reach each other: the first node compares, the others hear of it from that."""
    job.beat("comparing the nodes")
    began, place, attempt = time.monotonic(), job.place, job.spec.attempt
    own = facts(job, door)
    if not place.first:
        peers.tell("facts.json", own)
        links = Links(place.node, attempt, peers.hear("roster.json", Roster).spots)
        peers.tell("reached.json", links.reach(REACH_S))
        return links
    every = [own, *(peers.hear("facts.json", Facts, node) for node in range(1, place.nodes))]
    if error := compare(every):
        raise error
    links = Links(place.node, attempt, [one.spot for one in every])
    peers.tell("roster.json", Roster(spots=[one.spot for one in every]))
    found = {place.node: links.reach(REACH_S)}
    for node in range(1, place.nodes):
        found[node] = peers.hear("reached.json", Reached, node, ANSWER_S)
    if closed := links.closed(found):
        raise Unreachable(
            closed,
            place=f"LUTHIER_HOST; ports {door.port} and the like",
            value=links.whys(found),
            remedy="is the link up, and does a firewall between the nodes let ports 20000 to 32767 through?",
        )
    if far := skewed(every, found[place.node]):
        log.warning("clocks differ: %s", far)
        job.note(clocks=far)
    job.note(preflight=f"{place.nodes} nodes are alike and reach each other ({time.monotonic() - began:.1f} s)")
    return links


def note_sum(job: Work[TrainConfig]) -> None:
    """What the first sum over all ranks says of the network between them, once it is there."""
    path = job.scratch / ADDED
    if path.exists():
        added = Added.model_validate_json(path.read_bytes())
        path.unlink()
        log.info("first all-reduce: %s", added.line())
        job.note(all_reduce=added.line())


def facts(job: Work[TrainConfig], door: Door) -> Facts:
    """This node as the first is to compare it."""
    place, cache = job.place, job.platform.cache
    address = network(place.host, place.node, gpus() > 0).address
    return Facts(
        spot=Spot(node=place.node, host=place.host, address=address, port=door.port),
        machine=platform.node(),
        versions=versions(job.config),
        free=shutil.disk_usage(job.scratch).free + cache.spare(),
        need=need(job),
    )


def versions(config: TrainConfig) -> dict[str, str]:
    """What has to be the same on all nodes for this recipe."""
    used = [*_ALWAYS, *(["peft"] if config.tuning.adapter else [])]
    used += ["deepspeed"] if config.deepspeed != "none" else []
    used += ["bitsandbytes"] if config.tuning.load_in_4bit else []
    own = {"python": f"{sys.version_info.major}.{sys.version_info.minor}", "luthier": f"of code {code()[:8]}"}
    return installed(used) | own


def need(job: Work[TrainConfig]) -> int:
    """The bytes that this node will write at least: inputs that it does not have yet, and its part of a checkpoint."""
    store, cache = job.platform.store, job.platform.cache
    manifests: list[Manifest] = [store.manifest(receipt) for receipt in job.spec.inputs.values()]
    for receipt in store.manifest(job.receipt("dataset")).parts.values():
        manifests.append(store.manifest(receipt))
    files = {file.sha256: file for manifest in manifests for file in manifest.files}
    return cache.missing(files.values()) + _checkpoint(job)


def _checkpoint(job: Work[TrainConfig]) -> int:
    """Of all weights: the optimizer's states, which ZeRO shares out, and on the first node the weights; else next to nothing."""
    parameters = job.receipt("weights").summary.get("parameters")
    if job.config.tuning.adapter or not isinstance(parameters, int):
        return 0
    shared = zero.stage(job.config.deepspeed) > 0
    moments = _MOMENTS * parameters // job.place.nodes if shared else _MOMENTS * parameters * job.place.first
    return moments + _BYTES[job.config.held] * parameters * job.place.first
