"""How the workers of several nodes come to start one training: one decides, all fetch, then their ranks meet."""

from infra.errors import BadRecipe
from infra.frozen import Frozen
from infra.launch.links import listening
from infra.launch.nodes import Place
from infra.launch.peers import Peers
from infra.launch.work import Work
from tasks.training.config import TrainConfig
from tasks.training.ranks import Address, Meeting


class Plan(Frozen):
    """What the first node decides for all: the config with what was learned, ranks a node, the checkpoint to go on from."""

    config: TrainConfig
    ranks: int
    checkpoint: str = ""


def hear_plan(job: Work[TrainConfig], peers: Peers, ranks: int) -> Plan:
    """The first node's plan; BadRecipe where this node has not as many devices."""
    job.beat("waiting for the first node")
    plan = peers.hear("plan.json", Plan)
    if plan.ranks != ranks:
        place = peers.place
        raise BadRecipe(
            f"node {place.node} ({place.host}) would run {ranks} ranks, and node 0 {plan.ranks}",
            place="train.num_processes",
            value=plan.config.num_processes,
            remedy="set the number of all nodes together, or take nodes with as many GPUs",
        )
    return plan


def meet(job: Work[TrainConfig], peers: Peers) -> Meeting:
    """Wait until every node has all that it needs on its disk; the first takes a port and tells it."""
    job.beat("waiting for the other nodes")
    place, attempt = job.place, job.spec.attempt
    if not place.first:
        peers.tell("ready.json", place)
        return Meeting(place, peers.hear("address.json", Address), attempt)
    for node in range(1, place.nodes):
        peers.hear("ready.json", Place, node)
    with listening() as found:
        port = found.getsockname()[1]
    address = Address(host=place.host, port=port)
    peers.tell("address.json", address)
    return Meeting(place, address, attempt)
