"""The rights that docs/connect.md asks of an S3 administrator are those that the store uses: no more, no fewer."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[4]
# What AWS asks for each call (its "Actions, resources, and condition keys for Amazon S3").
RIGHTS = {
    "get_object": "s3:GetObject",
    "head_object": "s3:GetObject",
    "put_object": "s3:PutObject",
    "create_multipart_upload": "s3:PutObject",
    "upload_part": "s3:PutObject",
    "complete_multipart_upload": "s3:PutObject",
    "abort_multipart_upload": "s3:AbortMultipartUpload",
    "delete_object": "s3:DeleteObject",
    "list_objects_v2": "s3:ListBucket",
    "head_bucket": "s3:ListBucket",
}


def test_the_policy_allows_what_the_store_calls_and_nothing_else() -> None:
    code = (ROOT / "infra" / "storage" / "s3.py").read_text(encoding="utf-8")
    called = set(re.findall(r'(?:_(?:call|request)\(\s*"|self\.client\.)(\w+)', code))
    assert len(called) >= 9
    page = (ROOT / "docs" / "connect.md").read_text(encoding="utf-8")
    (policy,) = (json.loads(block) for block in re.findall(r"^```json\n(.*?)^```", page, re.MULTILINE | re.DOTALL))
    allowed: list[str] = []
    for statement in policy["Statement"]:
        actions = statement["Action"]
        allowed += [actions] if isinstance(actions, str) else actions
    assert sorted(allowed) == sorted({RIGHTS[call] for call in called})
