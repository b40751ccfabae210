from infra.storage.receipt import Receipt
from tasks.registry.task import links


def test_a_server_is_linked_and_a_file_is_named() -> None:
    version = Receipt(
        stage="registry", key="k", attempt="a", uri="u", content_sha256="c", summary={"name": "tickets", "version": "3"}
    )
    model = version.model_copy(update={"uri": "s3://bucket/stages/merging/1/2"})
    served = links("http://127.0.0.1:5000", version, {"model": model})
    page = "http://127.0.0.1:5000/#/models/tickets/versions/3"
    assert served == f"Version in MLflow: [{page}]({page})\n\n```text\nmodel    s3://bucket/stages/merging/1/2\n```"
    reported = version.model_copy(update={"summary": {**version.summary, "report": "runs:/1/data/report.html"}})
    assert "\nreport   runs:/1/data/report.html\n```" in links("http://127.0.0.1:5000", reported, {"model": model})
    assert links("sqlite:///mlflow.db", version, {}).startswith("Version in MLflow: `sqlite:///mlflow.db`\n")
