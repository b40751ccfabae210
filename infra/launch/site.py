"""Which launcher a stage gets on this site: one table of them, and what the profile says of the stage."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from infra.launch.base import Job, Launcher
from infra.launch.hosts import HostsLauncher
from infra.launch.kubernetes import KubernetesLauncher
from infra.launch.local import LocalLauncher
from infra.launch.profile import Profile
from infra.launch.resources import Resources
from infra.launch.slurm import SlurmLauncher


@dataclass(frozen=True)
class Site:
    """All launchers behind one."""

    profile: Profile = field(default_factory=Profile)
    shared_root: str = ""

    @cached_property
    def _table(self) -> dict[str, Launcher]:
        return {
            "local": LocalLauncher(),
            "slurm": SlurmLauncher(self.profile, self.shared_root),
            "hosts": HostsLauncher(self.profile, self.shared_root),
            "kubernetes": KubernetesLauncher(self.profile),
        }

    def __hash__(self) -> int:
        return hash((self.profile.model_dump_json(), self.shared_root))

    def start(
        self, module: str, spec: str, environment: dict[str, str], log: Path, resources: Resources | None = None
    ) -> Job:
        """As the launcher of the stage whose spec this is, with what it gets here."""
        asked = self.profile.asked(spec.split("/")[1], resources or Resources())
        return self._table[str(asked.launcher)].start(module, spec, environment, log, asked)

    def find(self, stage: str, key: str, resources: Resources, /) -> list[str]:
        """Attempts at a key that run without a flow of theirs."""
        asked = self.profile.asked(stage, resources)
        return self._table[str(asked.launcher)].find(stage, key, asked)
