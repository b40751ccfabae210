"""What ssh is told, and what its words mean."""

import pytest

from infra.errors import Refused, Unreachable
from infra.launch import ssh
from infra.launch.profile import Host, Profile

UNKNOWN = """No ED25519 host key is known for [b]:2222 and you have requested strict checking.
Host key verification failed."""
CHANGED = """@@@@@@@@@@@
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
The fingerprint for the ED25519 key sent by the remote host is
SHA256:8rvHJs5xJrTfRZ8vqz7xg4sSVp0pD3kIhFCbIlPtpmE.
Host key verification failed."""


def test_no_machine_is_trusted_and_nobody_is_asked() -> None:
    told = ssh.command(Profile(known_hosts="/site/known hosts"), Host(ssh="me@b:2222"))
    assert {"BatchMode=yes", "StrictHostKeyChecking=yes", "UpdateHostKeys=no", "ForwardAgent=no"} < set(told)
    assert 'UserKnownHostsFile="/site/known hosts"' in told
    assert told[-3:] == ["--", "ssh://me@b:2222", "/bin/bash -s"]
    assert not [part for part in ssh.command(Profile(), Host(ssh="b")) if "KnownHosts" in part]


def test_what_is_to_be_done_is_read_by_a_bash_and_its_lines_read_nothing_of_it() -> None:
    text = ssh.script(Profile(modules=["cuda/12"], setup=["cat"]), "exec true", {"SECRET": "it's"})
    assert text == "{\nmodule load cuda/12\ncat\n} < /dev/null >&2\nexport SECRET='it'\"'\"'s'\n\nexec true\n"
    assert ssh.command(Profile(modules=["cuda/12"]), Host(ssh="b"))[-1] == "/bin/bash -ls"


@pytest.mark.parametrize(
    ("host", "entry"),
    [("b", "'b'"), ("me@b:22", "'[b]:22'"), ("[fe80::1]", "'fe80::1'"), ("[fe80::1]:22", "'[fe80::1]:22'")],
)
def test_the_entry_of_a_changed_key_is_named_as_ssh_keygen_takes_it(host: str, entry: str) -> None:
    assert f"ssh-keygen -R {entry} -f" in ssh.error(Profile(), Host(ssh=host), CHANGED).remedy


@pytest.mark.parametrize(
    ("said", "kind", "what", "remedy"),
    [
        (UNKNOWN, Refused, "the key of me@b:2222 is not known", "`ssh-keyscan -p 2222 b >> /k`"),
        (CHANGED, Refused, "another key than the known one", "`ssh-keygen -R '[b]:2222' -f /k`"),
        ("ssh: connect to host b port 2222: Connection refused", Unreachable, "does not answer", "has to work"),
        ("me@b: Permission denied (publickey).", Unreachable, "does not answer", "has to work"),
        ("", Unreachable, "does not answer", "has to work"),
    ],
)
def test_what_ssh_says_becomes_an_error_with_a_remedy(said: str, kind: type, what: str, remedy: str) -> None:
    error = ssh.error(Profile(known_hosts="/k"), Host(ssh="me@b:2222"), said)
    assert type(error) is kind
    assert what in error.what
    assert "me@b:2222" in error.place
    assert remedy in error.remedy
    if kind is Refused:
        assert "/k" in error.place
