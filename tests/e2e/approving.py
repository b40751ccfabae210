"""The end of a run, as a flow of its own: what is registered is decided about."""

from prefect import flow

from infra.storage.receipt import Receipt
from pipelines.approval import UNASKED, Approval, concluded, decide


@flow(name="approving", log_prints=True)
def approving(version: Receipt, verdict: Receipt, approval: Approval = UNASKED) -> Receipt:
    return concluded(version, decide(approval, version, verdict))
