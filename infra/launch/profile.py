"""The site's profile: a small YAML of what is the same for all runs on a cluster, so that recipes need not say it."""

import os
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, JsonValue, ValidationError, field_validator, model_validator

from infra.errors import BadRecipe
from infra.frozen import Frozen
from infra.launch.resources import Resources

DEFAULT = "~/.config/luthier/profile.yaml"


_NAME = r"([A-Za-z0-9_][A-Za-z0-9_.-]*|\[[0-9A-Fa-f:.]+\])"  # never an option of ssh's


class Host(Frozen):
    """A machine that ssh reaches. Just its name, `user@name:port`, will do where the others reach it as ssh does."""

    ssh: str = Field(pattern=rf"^([A-Za-z0-9_][A-Za-z0-9_.-]*@)?{_NAME}(:[0-9]{{1,5}})?$")
    address: str = Field("", description="by which the other machines reach it; default: the one that ssh came in at")

    @model_validator(mode="before")
    @classmethod
    def _by_its_name(cls, told: Any) -> Any:
        return {"ssh": told} if isinstance(told, str) else told


_POD = {  # what the launcher says itself
    *("containers", "volumes", "restartPolicy", "activeDeadlineSeconds", "terminationGracePeriodSeconds"),
    *("name", "image", "command", "args", "env", "envFrom", "resources", "volumeMounts"),
}


class Kubernetes(Frozen):
    """Where and as what pods run. `pod` and `container` are in Kubernetes' own words, for all that has no field here."""

    context: str = Field(
        "", description="of the kubeconfig; default: its current one, or the cluster that this runs in"
    )
    namespace: str = Field("", pattern=r"^([a-z0-9][a-z0-9-]{0,62})?$", description="default: the context's")
    image: str = Field("", description="has the same Luthier with the extras of the stages: docker/train.Dockerfile")
    secret: str = Field(
        "", description="a Secret whose keys become variables of the workers: credentials, and nowhere else"
    )
    cache: str = Field("", description="a PersistentVolumeClaim for the nodes' cache; default: gone with the pod")
    labels: dict[str, str] = Field(default_factory=dict, description="further labels of the Job, as Kueue's queue")
    pod: dict[str, JsonValue] = Field(
        default_factory=dict, description="further fields of a pod's spec: tolerations, serviceAccountName …"
    )
    container: dict[str, JsonValue] = Field(
        default_factory=dict, description="further fields of its container: securityContext, imagePullPolicy …"
    )

    @field_validator("pod", "container")
    @classmethod
    def _is_not_ours(cls, told: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if taken := sorted(_POD & told.keys()):
            raise ValueError(f"{', '.join(taken)} is what the launcher says itself")
        return told


class Profile(Frozen):
    """How this site's cluster is used. Lines of shell are here only: a recipe has none."""

    launcher: str = Field(
        "local", pattern="^(local|slurm|hosts|kubernetes)$", description="where stages run that do not say it"
    )
    shared_root: str = Field("", description="a folder that all nodes and this machine mount under one path")
    hosts: list[Host] = Field(default_factory=list, description="machines for the launcher `hosts`, best first")
    known_hosts: str = Field("", description="the only file of host keys that counts; default: as ssh is set up")
    ssh_config: str = Field("", description="a file of ssh's options, instead of ~/.ssh/config")
    kubernetes: Kubernetes = Field(default_factory=Kubernetes, description="where and as what pods run")
    resources: Resources = Field(default_factory=Resources, description="what a job asks for, unless a stage says more")
    stages: dict[str, Resources] = Field(default_factory=dict, description="the same by stage, over the above")
    environment: dict[str, str] = Field(
        default_factory=dict, description="variables of the workers, as NCCL_SOCKET_IFNAME and GLOO_SOCKET_IFNAME"
    )
    modules: list[str] = Field(default_factory=list, description="environment modules that a job loads")
    setup: list[str] = Field(default_factory=list, description="lines of bash, run in the job before the workers")
    container: str = Field("", description="what workers are started through, as `apptainer exec --nv luthier.sif`")
    python: str = Field("", description="the Python on the nodes; default: the path of this one")
    home: str = Field("", description="LUTHIER_HOME on the nodes, each with a folder in it; default: in shared_root")
    grace_s: int = Field(120, ge=30, description="seconds before the end of a job's time in which training may save")
    queue_s: float = Field(7 * 86400, gt=0, description="how long a job may wait for its turn before it is called off")
    orphan_s: float = Field(1800, ge=60, description="how long a job goes on whose flow is gone")

    def launchers(self) -> set[str]:
        """All that stages of this site run on, as far as recipes do not say otherwise."""
        return {self.launcher, *(asked.launcher for asked in self.stages.values() if asked.launcher)}

    def asked(self, stage: str, resources: Resources) -> Resources:
        """What a stage gets: what it says itself, over what is said here of it, over what is said of all."""
        own = self.stages.get(stage, Resources())
        made = resources.over(own.over(self.resources))
        return made if made.launcher else made.model_copy(update={"launcher": self.launcher})


def load(path: str = "") -> Profile:
    """The profile at `path`, or at the usual place if there is one. BadRecipe names the field that is wrong."""
    place = Path(path or DEFAULT).expanduser()
    if not place.exists() and not path:
        return Profile()
    try:
        told = yaml.safe_load(place.read_text())
        return Profile.model_validate(told or {})
    except (OSError, yaml.YAMLError) as error:
        raise BadRecipe("the site's profile cannot be read", place=str(place), value=error, remedy=_HELP) from None
    except ValidationError as error:
        first = error.errors()[0]
        raise BadRecipe(
            f"the site's profile is wrong: {first['msg']}",
            place=f"{place}, {'.'.join(str(part) for part in first['loc'])}",
            value=first.get("input"),
            remedy=_HELP,
        ) from None


_HELP = "docs/clusters.md shows a profile; LUTHIER_PROFILE names another file"


def passed(environment: dict[str, str], profile: Profile) -> dict[str, str]:
    """The variables that go with a job: those that our libraries read, the site's, and what the stage says."""
    ours = {name: value for name, value in os.environ.items() if name.startswith(_PASSED) and name not in _OWN}
    return ours | profile.environment | environment


_PASSED = (
    *("LUTHIER_", "AWS_", "MLFLOW_", "HF_", "NCCL_", "GLOO_", "OMP_", "PYTHONPATH", "SSL_CERT_"),
    *("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
)
_OWN = (
    "LUTHIER_PROFILE",
    "LUTHIER_NODE",
    "LUTHIER_NODES",
    "LUTHIER_HOST",
    "LUTHIER_WORKER",
    "LUTHIER_RESTART",
    "LUTHIER_FOLLOWED",
)
