"""What is asked of Kubernetes' API, through its official client, with its errors as ours. Answers are JSON as it came."""

import json
import logging
import os
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from infra.errors import BadRecipe, LuthierError, Refused, Unreachable
from infra.launch.kubernetes_manifest import CONTAINER, NAME
from infra.launch.profile import Kubernetes

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

log = logging.getLogger(__name__)

REQUEST_S = (10.0, 30.0)  # to connect, and to be answered
OUTAGE_S = 300.0  # how long the API may be away while something is asked of it that has to be
_PAUSE_S = 2.0
_BUSY = 429
_MINE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
Found = dict[str, Any]


class Cluster:
    """One cluster and one namespace of it, reached as the site's profile says."""

    def __init__(self, told: Kubernetes) -> None:
        self._told = told

    @cached_property
    def _client(self) -> "ApiClient":
        try:
            from kubernetes import client, config  # noqa: PLC0415 - an extra, which only such a site needs
        except ImportError:
            raise BadRecipe(
                "Kubernetes' client is not installed",
                place="LUTHIER_LAUNCHER, launcher: kubernetes",
                remedy="pip install 'luthier[kubernetes]'",
            ) from None
        made = client.Configuration()
        made.retries = False  # what is asked again, and for how long, is decided here
        try:
            if self._inside:
                config.load_incluster_config(client_configuration=made)
            else:
                config.load_kube_config(
                    config_file=os.environ.get("KUBECONFIG"),
                    context=self._told.context or None,
                    client_configuration=made,
                    persist_config=False,
                )
        except (config.ConfigException, OSError, ValueError) as error:
            raise BadRecipe(
                "no way to a cluster is known",
                place="KUBECONFIG, or kubernetes.context of the site's profile",
                value=error,
                remedy="`kubectl config get-contexts` lists those that there are",
            ) from None
        return client.ApiClient(made)

    @property
    def _inside(self) -> bool:
        told = self._told.context or os.environ.get("KUBECONFIG") or Path("~/.kube/config").expanduser().exists()
        return not told and "KUBERNETES_SERVICE_HOST" in os.environ

    @cached_property
    def namespace(self) -> str:
        """The profile's, else that of the context or of the pod that this is, else `default`."""
        if self._told.namespace:
            return self._told.namespace
        if self._inside:
            return _MINE.read_text().strip() if _MINE.exists() else "default"
        from kubernetes import config  # noqa: PLC0415

        contexts, current = config.list_kube_config_contexts(os.environ.get("KUBECONFIG"))
        chosen = next((one for one in contexts if one["name"] == self._told.context), current)
        return str(chosen["context"].get("namespace") or "default")

    @property
    def address(self) -> str:
        """Where the API is."""
        return str(self._client.configuration.host)

    def create(self, job: Found, dry: bool = False) -> Found:
        """Make a Job; where its name is taken, because an answer of ours was lost or another flow was faster, that one."""
        more = {"dry_run": "All"} if dry else {}
        try:
            return self._ask(
                "create jobs", self._batch.create_namespaced_job, self.namespace, job, field_validation="Strict", **more
            )
        except _Taken:
            name = job["metadata"]["name"]
            log.info("job %s is there already, and is followed", name)
            found = self.job(name)
            if found is None:
                raise Unreachable("the job was there, and is gone", place=self._at("jobs"), value=name) from None
            return found

    def job(self, name: str) -> Found | None:
        """A Job, or None where there is none of that name."""
        return self._unless_gone("get jobs", self._batch.read_namespaced_job, name, self.namespace)

    def jobs(self, labels: dict[str, str]) -> list[Found]:
        """All Jobs that have these labels."""
        selector = ",".join(f"{name}={value}" for name, value in labels.items())
        told = self._ask("list jobs", self._batch.list_namespaced_job, self.namespace, label_selector=selector)
        return list(told["items"])

    def delete(self, name: str) -> None:
        """Delete a Job; it is gone once its pods are."""
        how = {"propagation_policy": "Foreground"}
        self._unless_gone("delete jobs", self._batch.delete_namespaced_job, name, self.namespace, **how)

    def pods(self, job: str) -> list[Found]:
        """The pods of a Job."""
        selector = f"{NAME}={job}"
        return list(
            self._ask("list pods", self._core.list_namespaced_pod, self.namespace, label_selector=selector)["items"]
        )

    def annotate(self, pod: str, told: dict[str, str]) -> None:
        """Write annotations on a pod; one that is gone has none to write on."""
        body = {"metadata": {"annotations": told}}
        self._unless_gone("patch pods", self._core.patch_namespaced_pod, pod, self.namespace, body)

    def log(self, pod: str, since_s: int | None) -> bytes:
        """What a pod's worker wrote, each line after its time; empty where it cannot be had (yet, or any more)."""
        how: dict[str, Any] = {"container": CONTAINER, "timestamps": True}
        since = {} if since_s is None else {"since_seconds": since_s}
        try:
            return self._raw("get pods/log", self._core.read_namespaced_pod_log, pod, self.namespace, **how, **since)
        except (BadRecipe, _Gone):  # 400: its container has not started
            return b""

    def warnings(self, name: str) -> list[str]:
        """What the cluster complains about an object, oldest first: a quota, a volume that cannot be mounted."""
        fields = f"involvedObject.name={name},type=Warning"
        told = self._ask("list events", self._core.list_namespaced_event, self.namespace, field_selector=fields)
        events = sorted(told["items"], key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime")))
        return [f"{event.get('reason')}: {event.get('message')}" for event in events]

    def may(self, verb: str, group: str, resource: str) -> bool:
        """Whether this account may do that in the namespace."""
        resource, _, part = resource.partition("/")
        asked = {"verb": verb, "group": group, "resource": resource, "subresource": part, "namespace": self.namespace}
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": asked},
        }
        told = self._ask("ask for rights", self._api("AuthorizationV1Api").create_self_subject_access_review, body)
        return bool(told["status"]["allowed"])

    def secret(self, name: str) -> list[str] | None:
        """The names of a Secret's keys, or None where there is no such Secret."""
        found = self._unless_gone("get secrets", self._core.read_namespaced_secret, name, self.namespace)
        return None if found is None else sorted(found.get("data") or {})

    def claim(self, name: str) -> Found | None:
        """A PersistentVolumeClaim."""
        return self._unless_gone(
            "get persistentvolumeclaims", self._core.read_namespaced_persistent_volume_claim, name, self.namespace
        )

    def nodes(self) -> list[Found]:
        """The cluster's nodes."""
        return list(self._ask("list nodes", self._core.list_node)["items"])

    @property
    def _batch(self) -> Any:
        return self._api("BatchV1Api")

    @property
    def _core(self) -> Any:
        return self._api("CoreV1Api")

    def _api(self, name: str) -> Any:
        from kubernetes import client  # noqa: PLC0415

        return getattr(client, name)(self._client)

    def _ask(self, doing: str, call: Callable[..., Any], *asked: Any, **how: Any) -> Found:
        try:
            told: Found = json.loads(self._raw(doing, call, *asked, **how))
        except _Gone as error:
            remedy = "does the namespace exist? kubernetes.namespace of the site's profile names it"
            raise Refused(error.what, place=error.place, value=error.value, remedy=remedy) from None
        return told

    def _unless_gone(self, doing: str, call: Callable[..., Any], *asked: Any, **how: Any) -> Found | None:
        try:
            told: Found = json.loads(self._raw(doing, call, *asked, **how))
        except _Gone:
            return None
        return told

    def _raw(self, doing: str, call: Callable[..., Any], *asked: Any, **how: Any) -> bytes:
        from kubernetes.client import ApiException  # noqa: PLC0415
        from urllib3.exceptions import HTTPError  # noqa: PLC0415 - the client's own

        try:
            answer = call(*asked, **how, _preload_content=False, _request_timeout=REQUEST_S)
            return bytes(answer.data)
        except ApiException as error:
            raise _error(error.status or 0, error.body or error.reason or "", self._at(doing)) from None
        except ValidationError as error:  # the client looks at a body itself
            first = error.errors()[0]
            raise _refused(self._at(doing), f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
        except (HTTPError, OSError) as error:
            raise _away(self._at(doing), f"{type(error).__name__}: {error}") from None

    def _at(self, doing: str) -> str:
        return f"{doing} in namespace {self.namespace} of {self.address}"


class _Gone(Refused):
    """There is no such object."""


class _Taken(Refused):
    """There is one of that name."""


def patiently(call: Callable[[], Any], deadline_s: float = OUTAGE_S) -> Any:
    """The same, again and again while the API is away or busy, until the deadline."""
    end = time.monotonic() + deadline_s
    while True:
        try:
            return call()
        except Unreachable as error:
            if time.monotonic() > end:
                raise
            log.warning("Kubernetes' API is away: %s", error.value)
            time.sleep(_PAUSE_S)


def _error(status: int, body: object, place: str) -> LuthierError:
    said = _message(body)
    if status == 404:
        return _Gone("Kubernetes has no such object", place=place, value=said)
    if status == 409:
        return _Taken("Kubernetes has one of that name", place=place, value=said)
    if status in (401, 403):
        remedy = "`luthier doctor --launcher kubernetes` lists the rights that are needed and missing"
        return Refused("Kubernetes does not let this account do that", place=place, value=said, remedy=remedy)
    if status in (0, _BUSY) or status >= 500:
        return _away(place, f"{status}: {said}")
    return _refused(place, said)


def _refused(place: str, said: str) -> BadRecipe:
    return BadRecipe(
        "Kubernetes refused the job",
        place=place,
        value=said,
        remedy="kubernetes.pod and kubernetes.container of the site's profile are in its own words; `kubectl explain job.spec.template.spec`",
    )


def _message(body: object) -> str:
    text = body.decode(errors="replace") if isinstance(body, bytes) else str(body)
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text


def _away(place: str, said: str) -> Unreachable:
    return Unreachable(
        "Kubernetes' API does not answer",
        place=place,
        value=said,
        remedy="`kubectl get --raw /readyz` says if it is up",
    )
