"""The other nodes of a launch, as a worker hears of them: through the store, which is all that they surely share."""

import time
from typing import TypeVar

from infra.errors import Crashed, LuthierError, NodeLost, Unreachable, revive
from infra.frozen import Frozen, canonical
from infra.launch.nodes import Place, of
from infra.launch.step import Beat, Outcome, Spec
from infra.settings import Platform
from infra.storage import layout

F = TypeVar("F", bound=Frozen)

LOOK_S = 2.0
POLL_S = 0.3
GONE_S = 20.0  # four beats
LINGER_S = 30.0  # for this node's ranks to say more than that another's have died
PATIENCE_S = 6 * 3600.0  # for a node that lives to do its part: longer than any fetch or upload
SAY_S = 60.0  # for a node whose ranks failed to say so; one that lives on meanwhile has nothing to tell


class Peers:
    """What nodes of one launch tell each other. The first looks at all others, those look at the first."""

    def __init__(self, platform: Platform, spec: Spec, place: Place) -> None:
        self._platform, self._spec, self.place = platform, spec, place
        self._others = range(1, place.nodes) if place.first else range(1)
        self._silence_s = platform.silence_s
        self._beats = dict.fromkeys(self._others, (b"", time.monotonic()))
        self.over: set[int] = set()  # nodes that did all that they had to do
        self._looked = 0.0
        self._crashed: dict[int, float] = {}

    def tell(self, name: str, value: Frozen) -> None:
        """Leave a record for the others, if there are any."""
        if self.place.nodes == 1:
            return
        self._platform.store.objects.put(self._at(name, self.place.node), canonical(value.model_dump(mode="json")))

    def hear(self, name: str, kind: type[F], node: int = 0, within_s: float | None = None) -> F:
        """Wait for a node's record, for as long as the nodes that this one looks at are well, up to PATIENCE_S or so."""
        patience_s = PATIENCE_S if within_s is None else within_s
        end = time.monotonic() + patience_s
        while (told := self.read(name, kind, node)) is None:
            self.look()
            if time.monotonic() > end:
                raise self.stuck(node, name, patience_s)
            time.sleep(POLL_S)
        return told

    def stuck(self, node: int, name: str, patience_s: float = PATIENCE_S) -> Unreachable:
        """What is wrong with a node that lives and does not go on."""
        return Unreachable(
            f"{self._name(node)} lives, but left no {name} in {patience_s / 60:.0f} min",
            place=self._at(name, node),
            remedy="see its own log for what it waits for",
        )

    def read(self, name: str, kind: type[F], node: int) -> F | None:
        """A node's record, if it is there by now."""
        data = self._get(name, node)
        return None if data is None else kind.model_validate_json(data)

    def look(self) -> None:
        """Raise what ended another node; NodeLost where one fell silent, Unreachable where it never came.

        Where its ranks died, those of this node soon do, and may say why: it is raised only if they do not.
        """
        if time.monotonic() - self._looked < LOOK_S:
            return
        self._looked = time.monotonic()
        for node in set(self._others) - self.over:
            outcome = self._outcome(node)
            if outcome is not None and outcome.error is not None:
                self._raise(node, self._theirs(node, outcome))
            elif outcome is not None:
                self.over.add(node)
            elif self._silent_s(node) > self._silence_s:
                raise self._lost([node])

    def _raise(self, node: int, error: LuthierError) -> None:
        since = self._crashed.setdefault(node, time.monotonic())
        if not isinstance(error, Crashed) or time.monotonic() - since > LINGER_S:
            raise error

    def hurry(self) -> None:
        """From now on a few missed beats are enough for a node to count as lost: something has failed already."""
        self._silence_s = min(self._silence_s, GONE_S)

    def why(self, error: LuthierError) -> LuthierError:
        """Why this node's ranks failed, if all that they know is that another's are gone: waits for what that one says."""
        if self.place.nodes == 1 or not self.place.first or not isinstance(error, Crashed):
            return error
        told: dict[int, LuthierError] = {}
        lost: list[int] = []
        waiting, end = set(self._others) - self.over, time.monotonic() + SAY_S
        while waiting and time.monotonic() < end:
            for node in sorted(waiting):
                outcome = self._outcome(node)
                if outcome is not None and outcome.error is not None:
                    told[node] = self._theirs(node, outcome)
                elif outcome is not None:
                    self.over.add(node)
                elif self._silent_s(node) > GONE_S:
                    lost.append(node)
            waiting -= {*told, *lost, *self.over}
            if any(not isinstance(one, Crashed) for one in told.values()):
                break
            time.sleep(POLL_S)
        return self._chosen(error, told, lost)

    def _chosen(self, own: LuthierError, told: dict[int, LuthierError], lost: list[int]) -> LuthierError:
        """The first that says more than that a rank died; else a lost node; else all that was said."""
        certain = [error for error in told.values() if not isinstance(error, Crashed)]
        if certain:
            return certain[0]
        if lost:
            return self._lost(lost)
        ways = [f"node 0: {own.value}", *(f"node {node}: {error.value}" for node, error in told.items())]
        return Crashed(own.what, place=own.place, value="; ".join(ways), remedy=own.remedy)

    def _silent_s(self, node: int) -> float:
        """How long a node has sent no new beat, by this node's clock."""
        data, before = self._get("heartbeat.json", node) or b"", self._beats[node]
        if data != before[0]:
            self._beats[node] = (data, time.monotonic())
        return time.monotonic() - self._beats[node][1]

    def _lost(self, nodes: list[int]) -> Unreachable | NodeLost:
        silent = [node for node in nodes if self._beats[node][0]]
        who = ", ".join(self._name(node) for node in silent or nodes)
        if silent:
            last = [Beat.model_validate_json(self._beats[node][0]).line() or "starting" for node in silent]
            return NodeLost(
                f"{who} was lost",
                value=f"last heard: {'; '.join(last)}",
                remedy="it goes on from the newest checkpoint",
            )
        return Unreachable(
            f"{who} of {self.place.nodes} never came",
            place=self._platform.store.uri,
            remedy="does its worker reach the store? Its own log says more; LUTHIER_SILENCE_S is how long it is waited for",
        )

    def _theirs(self, node: int, outcome: Outcome) -> LuthierError:
        assert outcome.error is not None
        where = ", ".join(filter(None, [outcome.error.place, self._name(node)]))
        return revive(outcome.error.model_copy(update={"place": where}))

    def _name(self, node: int) -> str:
        told = self.read("node.json", Place, node)
        return f"node {node} ({told.host})" if told else f"node {node}"

    def _outcome(self, node: int) -> Outcome | None:
        return self.read("outcome.json", Outcome, node)

    def _get(self, name: str, node: int) -> bytes | None:
        return self._platform.store.objects.get(self._at(name, node))

    def _at(self, name: str, node: int) -> str:
        spec = self._spec
        return layout.job(spec.stage, spec.key, spec.attempt, of(name, node))
