"""The cluster that makes shards, where LUTHIER_SHARDS names one: who works there, and do they see the store?"""

import json
import uuid
from concurrent.futures import wait

from infra.doctor.finding import Finding, bad, guarded, ok, warn
from infra.launch import cluster
from infra.settings import Settings
from infra.storage import layout
from infra.storage.store import open_objects

PATIENCE_S = 20.0  # somebody waits for the answer


def shards(own: Settings) -> Finding:
    """Ask a node of the cluster for what this machine put into the store."""
    return guarded("shards", lambda: _shards(own))


def _shards(own: Settings) -> Finding:
    with cluster.connected(own.shards, PATIENCE_S) as there:
        if not there.width:
            return warn(
                "shards", f"{own.shards}: no worker is there", f"start some: dask worker {own.shards} --nthreads 1"
            )
        objects, key = open_objects(own.root(), min(own.store_deadline_s, PATIENCE_S)), f"probe/{uuid.uuid4().hex}"
        objects.create(layout.join(key), key.encode())
        try:
            asked = there.submit(cluster.look, json.dumps({"store": own.root(), "key": key}))
            if wait([asked], PATIENCE_S).not_done:
                return warn("shards", f"{own.shards}: no answer in {PATIENCE_S:.0f} s", "its workers are busy, perhaps")
            told = json.loads(there.answer(asked))
        finally:
            objects.delete(key)
        said = f"{own.shards}: {there.width} threads; {told['host']} has Python {told['python']}"
    if told["found"] != key:
        remedy = "mount LUTHIER_SHARED_ROOT there under the same path, or set LUTHIER_STORE to s3://…"
        return bad("shards", f"{said}, and does not see {own.root()}", remedy)
    return ok("shards", f"{said} and sees the store")
