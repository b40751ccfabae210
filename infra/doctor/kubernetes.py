"""A cluster of Kubernetes: is it reached, may this account do what runs do, and is there what the site's profile names?"""

from collections.abc import Iterator

from infra.doctor.finding import Finding, bad, guarded, note, ok, warn
from infra.errors import LuthierError
from infra.launch.kubernetes_calls import Cluster
from infra.launch.kubernetes_manifest import Order, manifest
from infra.launch.profile import Profile
from infra.launch.profile import load as load_profile
from infra.launch.resources import Resources
from infra.settings import Settings

NEEDED = {  # what a run ends without
    "batch": ("create jobs", "get jobs", "list jobs", "delete jobs"),
    "": ("list pods", "patch pods", "get pods/log"),
}
SPEC = f"jobs/doctor/{'0' * 64}/looks/spec.json"
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


def kubernetes(own: Settings) -> Iterator[Finding]:
    """Nothing is made there: the Job that the cluster is asked about is a dry run."""
    try:
        profile = load_profile(own.profile)
        cluster = Cluster(profile.kubernetes)
        missing = [
            right
            for group, rights in NEEDED.items()
            for right in rights
            if not cluster.may(right.split()[0], group, right.split()[1])
        ]
    except LuthierError as error:
        yield bad("kubernetes", f"{error.what}; {error.place}; {error.value}", error.remedy)
        return
    place = f"namespace {cluster.namespace} of {cluster.address}"
    if missing:
        remedy = "have a Role with them bound to this account; docs/clusters.md shows one"
        yield bad("kubernetes", f"{place}: this account may not {', '.join(missing)}", remedy)
        return
    yield ok("kubernetes", f"{place}: jobs, their pods and logs are this account's to use")
    yield guarded("kubernetes job", lambda: _accepted(own, profile, cluster))
    yield from _named(profile, cluster)
    yield guarded("kubernetes gpus", lambda: _gpus(profile, cluster))


def _accepted(own: Settings, profile: Profile, cluster: Cluster) -> Finding:
    """Ask whether the API, with all that is plugged into it, would take a training's Job."""
    asked = profile.asked("training", Resources())
    told = {"LUTHIER_STORE": own.root(), "MLFLOW_TRACKING_URI": own.tracking_uri()}
    cluster.create(manifest(Order("infra.doctor.node", SPEC, asked, told), profile), dry=True)
    return ok("kubernetes job", f"it would be taken, with image {profile.kubernetes.image}")


def _named(profile: Profile, cluster: Cluster) -> Iterator[Finding]:
    secret, claim = profile.kubernetes.secret, profile.kubernetes.cache
    if not secret:
        yield note("kubernetes secret", "none is named, so pods need credentials of their nodes or service account")
    elif not cluster.may("get", "", "secrets"):
        yield note("kubernetes secret", f"{secret} is named; this account may not look at it, and need not")
    else:
        yield guarded("kubernetes secret", lambda: _secret(cluster, secret))
    if claim and cluster.may("get", "", "persistentvolumeclaims"):
        yield guarded("kubernetes cache", lambda: _claim(cluster, claim))


def _secret(cluster: Cluster, name: str) -> Finding:
    keys = cluster.secret(name)
    if keys is None:
        remedy = f"`kubectl create secret generic {name} --from-env-file=…`, or correct kubernetes.secret"
        return bad("kubernetes secret", f"there is no {name}", remedy)
    if lacking := [key for key in KEYS if key not in keys]:
        return warn(
            "kubernetes secret", f"{name} has no {', '.join(lacking)}", "needed, unless pods have a role of their own"
        )
    return ok("kubernetes secret", f"{name} has {', '.join(keys)}")


def _claim(cluster: Cluster, name: str) -> Finding:
    found = cluster.claim(name)
    if found is None:
        return bad("kubernetes cache", f"there is no claim {name}", "make it, or correct kubernetes.cache")
    modes = found["spec"].get("accessModes", [])
    if "ReadWriteMany" not in modes:
        return warn("kubernetes cache", f"{name} is {', '.join(modes)}", "pods on several nodes need ReadWriteMany")
    return ok("kubernetes cache", f"{name} is {found.get('status', {}).get('phase', 'there')}")


def _gpus(profile: Profile, cluster: Cluster) -> Finding:
    if not cluster.may("list", "", "nodes"):
        return note("kubernetes gpus", "this account may not list nodes, and need not; so what they have is not known")
    asked = profile.asked("training", Resources())
    has = [int(node["status"]["allocatable"].get("nvidia.com/gpu", 0)) for node in cluster.nodes()]
    want = int(told) if (told := asked.gpus_per_node or "").isdigit() else 0  # else it was told above
    fit = sum(gpus >= want for gpus in has)
    said = f"{sum(has)} on {sum(map(bool, has))} of {len(has)} nodes; training asks for {want} on {asked.nodes}"
    if fit < asked.nodes:
        return warn(
            "kubernetes gpus", f"{said}, and {fit} have so many", "see gpus_per_node and nodes of the site's profile"
        )
    return ok("kubernetes gpus", said)
