"""`luthier push` asks for what it needs before it looks at anything."""

from collections.abc import Callable

import pytest

pytestmark = pytest.mark.heavy


def test_nothing_is_read_or_fetched_without_a_token_or_a_proper_id(
    luthier: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    assert luthier("push", "no-such-version", "acme/tiny") == 2
    assert "export HF_TOKEN" in capsys.readouterr().err
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    assert luthier("push", "no-such-version", "tiny") == 2
    assert "organisation/name" in capsys.readouterr().err
