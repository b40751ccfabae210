"""Personal data and secrets: what is found, what is left alone, and that redaction takes the one and not the other."""

import time

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

from tasks.data import sensitive
from tasks.data.checks import IBAN
from tasks.data.kinds import KINDS
from tasks.data.rows import Chat, Plain, Row, Text
from tasks.data.sensitive import hits, redact, scan
from tasks.data.texts import mapped, texts

# Tokens stand in two pieces, so that no scanner of repositories takes this file for a leak.
A40 = "a8Fk2LmQ9xZ7Tb4Rc1Vd6We3Yh5Ju0PoNiBg8SqK"
PEM = "-----BEGIN " + "RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7bq3Zk2mQ9xZ7Tb4Rc1Vd6We3Yh5Ju0Po\nNiBg8SqK\n"
LOCKED = PEM.replace("\nMII", "\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,7A2F\n\nMII")
END = "-----END " + "RSA PRIVATE KEY-----"
JWT = "eyJ" + "hbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"

POSITIVE = [
    ("EMAIL", "write to ", "jane.doe@luthier-mail.org", " today"),
    ("EMAIL", "<", "a+b_c%d@sub.domain.co.uk", ">"),
    ("EMAIL", "mailto:", "hr@firma.de", "?subject=x"),
    ("EMAIL", "", "x@1and1.com", "."),
    ("EMAIL", "Kontakt：", "li@qq.com", "，谢谢"),
    ("PHONE", "call ", "+49 30 1234567", "!"),
    ("PHONE", "call ", "+49 (0)30 1234567", ", or"),
    ("PHONE", "Tel.", "+1 (555) 123-4567", ""),
    ("PHONE", "", "+33612345678", " (mobile)"),
    ("PHONE", "at ", "(212) 555-0123", "."),
    ("PHONE", "", "212-555-0123", ""),
    ("PHONE", "ring ", "020 7946 0958", " now"),
    ("PHONE", "", "07700 900123", ""),
    ("PHONE", "Ruf ", "030/12345678", ""),
    ("PHONE", "", "06 12 34 56 78", ""),
    ("PHONE", "", "03-1234-5678", "へ"),
    ("CARD", "card ", "4111 1111 1111 1111", " 12/27"),
    ("CARD", "card ", "4111111111111111", ","),
    ("CARD", "", "5500-0055-5555-5559", ""),
    ("CARD", "amex ", "3782 822463 10005", " ok"),
    ("CARD", "", "6011000990139424", ""),
    ("CARD", "23 45 ", "4012888888881881", ""),
    ("IBAN", "IBAN ", "DE89 3704 0044 0532 0130 00", " BIC COBADEFF"),
    ("IBAN", "", "GB29NWBK60161331926819", ""),
    ("IBAN", "", "NO93 8601 1117 947", "."),
    ("IBAN", "(", "MT84MALT011000012345MTLCAST001S", ")"),
    ("IBAN", "", "FR14 2004 1010 0505 0001 3M02 606", ""),
    ("SSN", "SSN: ", "536-22-8741", ""),
    ("SSN", "(", "219-09-9999", ")"),
    ("IP", "from ", "93.184.216.34", ":443"),
    ("IP", "ping ", "151.101.1.69", "."),
    ("IP", "", "2606:2800:220:1:248:1893:25c8:1946", ""),
    ("IP", "[", "2a00:1450:4001:81b::200e", "]"),
    ("CREDENTIALS", "postgres://", "admin:Xk29fLq7@db.intern:5432/x"[:14], "@db.intern:5432/x"),
    ("CREDENTIALS", "https://", "bob:s3cr3tpw", "@git.firma.de/a.git"),
    ("PRIVATE_KEY", "key:\n", PEM + END, "\n"),
    ("PRIVATE_KEY", "", LOCKED + END, ""),
    ("PRIVATE_KEY", '{"key": "', (PEM + END).replace("\n", "\\n"), '"}'),
    ("AWS_KEY", "id=", "AK" + "IA2E0A8F3B4C5D6E7F".replace("0", "Q").replace("8", "R"), ""),
    ("AWS_SECRET", "aws_secret_access_key = ", A40, "\n"),
    ("AWS_SECRET", 'AWS secret: "', A40[:20] + "/" + A40[21:], '"'),
    ("GITHUB_TOKEN", "with ", "gh" + "p_" + A40[:36], ""),
    ("GITHUB_TOKEN", "", "github" + "_pat_" + 2 * A40[:35], ""),
    ("GITLAB_TOKEN", "", "gl" + "pat-" + A40[:20], " x"),
    ("SLACK_TOKEN", "", "xox" + "b-2345678901-" + A40[:24], ""),
    ("SLACK_TOKEN", "https://", "hooks.slack" + ".com/services/T02AB3/B04CD5/" + A40[:24], ""),
    ("STRIPE_KEY", "", "sk" + "_live_" + A40[:24], ""),
    ("OPENAI_KEY", "", "sk" + "-proj-" + A40, ";"),
    ("ANTHROPIC_KEY", "", "sk" + "-ant-api03-" + A40, ""),
    ("GOOGLE_KEY", "key=", "AI" + "za" + A40[:35], "&x"),
    ("HF_TOKEN", "", "hf" + "_" + A40[:34], ""),
    ("JWT", "Bearer ", JWT, ""),
    ("PASSWORD", "password = ", "Tr0ub4dor&3", ""),
    ("PASSWORD", '{"api_key": "', A40[:32], '"}'),
    ("PASSWORD", "the passwd: ", "horse7battery!", " ok"),
]
NEGATIVE = [
    "user@example.com and root@localhost",
    "a@b.test, c@d.invalid, e@mail.example.org",
    "git@github.com:owner/repository.git",
    "logo@2x.png and icon@3x.webp",
    "@dataclass\nclass A: ...",
    "4 @ 5.00 each",
    "in 2023-11-24 12:30:45.123456",
    "2023-11-24T12:30:45Z and 24.11.2023, 01-02-2024",
    "tomorrow 12:30:45 to 23:59:59",
    "from 1939-1945 to 2001-2010",
    "order 1234567890123456",
    "4111 1111 1111 1112 has a wrong last digit",
    "0.4111111111111111 is a fraction",
    "4444444444444444",
    "id-4111111111111111",
    "DE00 3704 0044 0532 0130 00",
    "AB12 3456 7890 1234 5678",
    "HTTP2 ABCD 1234 EFGH",
    "000-12-3456, 666-12-3456, 900-12-3456",
    "536-00-8741 and 536-22-0000",
    "1536-22-8741-3",
    "127.0.0.1, 10.0.0.7, 192.168.1.1, 172.16.0.3",
    "256.1.1.1 and 1.2.3.400",
    "version 4.0.30.1",
    "10.0.19041.1",
    "93.184.216.0/24",
    "see 3.2.2.10 and EC 6.5.1.1",
    "id 4220315081820346526, 4066795298816",
    "pkg:rpm/libXau@1.0.9-3.el8",
    "mysql://scott:tiger9@localhost/test",
    "auth_token = base64.b64encode(value)",
    "token=dep_token0, credentials: _convert_oauth2_credentials",
    'MARKS = ("-----BEGIN RSA ' + 'PRIVATE KEY-----", "-----END RSA PRIVATE KEY-----")',
    "1.2.3.4.5 is a section",
    "std::vector<int>::iterator",
    "2001:db8::1 is for documentation",
    "fe80::1 and ::1",
    "deadbeef:cafe",
    "https://example.org/a:b/c@d",
    "postgres://user:password@localhost/db",
    "postgres://${USER}:${PASSWORD}@host/db",
    "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA7bq3Zk2m\n-----END PUBLIC KEY-----",
    "-----BEGIN " + "PRIVATE KEY-----\n...\n",
    "AKIA" + "IOSFODNN7EXAMPLE",
    "commit 9fceb02d0ae598e95dc970b74767f19372d61af8",
    "ghp_ is the prefix of such tokens",
    "sk-learn and task-oriented-dialogue-systems-of-today",
    "sk-your-api-key-goes-here-please",
    "hf_hub_download(repo_id, filename)",
    "password: ********",
    "password = getpass.getpass()",
    "token = tokenizer.encode(text)",
    "secret: os.environ['SECRET']",
    "api_key=YOUR_API_KEY",
    "max_tokens: 12345678",
    "password: correct horse",
    "eyJust a word",
    "3.14159265358979323846",
    "1 000 000 000 000",
    "+1 point and x+12345678",
    "call 112 or 911",
]


def one(text: str) -> Row:
    return Text(text)


@pytest.mark.parametrize(("kind", "before", "secret", "after"), POSITIVE)
def test_it_is_found_where_it_stands_and_replaced_by_its_mark_alone(
    kind: str, before: str, secret: str, after: str
) -> None:
    assert scan(one(before + secret + after)) == {kind: 1}
    made, counts = redact(one(before + secret + after))
    assert made == Text(f"{before}[{kind}]{after}")
    assert counts == {kind: 1}


@pytest.mark.parametrize("text", NEGATIVE)
def test_what_only_looks_like_it_is_left_alone(text: str) -> None:
    row = one(text)
    assert not scan(row)
    assert redact(row) == (row, {})


def test_there_are_enough_examples_and_every_kind_has_one() -> None:
    assert len(POSITIVE) >= 40
    assert len(NEGATIVE) >= 40
    assert {kind for kind, *_ in POSITIVE} == {kind.name for kind in KINDS}
    assert sum(map(len, IBAN.values())) == len(set().union(*IBAN.values()))


def test_redaction_reaches_everything_that_a_row_says() -> None:
    def call(city: str) -> dict[str, object]:
        return {"function": {"name": "send", "arguments": {"to": [{"mail": city, "n": 3}], "x@y.com": True}}}

    def row(mail: str) -> Chat:
        return Chat(
            [
                {"role": "system", "content": f"You are {mail}'s."},
                {"role": "user", "content": f"{mail}?"},
                {"role": "assistant", "content": "", "reasoning_content": f"to {mail}", "tool_calls": [call(mail)]},
                {"role": "assistant", "content": f"Sent to {mail} and {mail}."},
            ],
            given=1,
        )

    before = row("jane@firma.de")
    made, counts = redact(before)
    assert made == row("[EMAIL]")
    assert counts == {"EMAIL": 6}
    assert before == row("jane@firma.de"), "the row itself stays"
    assert redact(Plain("I am ", "jane@firma.de")) == (Plain("I am ", "[EMAIL]"), {"EMAIL": 1})


def test_a_report_shows_two_characters_and_the_length() -> None:
    found = hits(one("jane.doe@firma.de, then 4111 1111 1111 1111"))
    assert [tuple(hit) for hit in found] == [("EMAIL", "ja… (17 characters)"), ("CARD", "41… (19 characters)")]
    assert not hits(one("nothing"))


@given(st.sampled_from(range(len(KINDS))).flatmap(lambda n: st.tuples(st.just(n), st.from_regex(KINDS[n].hint))))
def test_a_hint_compiles_to_what_python_understands_by_it(pair: tuple[int, str]) -> None:
    number, text = pair
    assert re2.compile(KINDS[number].hint).search(text)


@given(st.data())
def test_where_a_pattern_matches_its_hint_does(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(KINDS))
    text = data.draw(st.from_regex(kind.pattern.replace("(?s:", "(?:"), alphabet=st.characters(max_codepoint=126)))
    assert re2.compile(kind.hint).search(text)


ANY = st.one_of(
    st.text(),
    st.text(alphabet="0123456789 -.()/+:@abAKIA_=\n", max_size=80),
    st.sampled_from([secret for _, _, secret, _ in POSITIVE]),
    st.sampled_from(["\ud800", "é", "[EMAIL]", "password=", "://a:b@", "中"]),
)


@given(st.lists(ANY, max_size=12).map("".join))
def test_after_redaction_nothing_is_found_and_clean_text_is_the_same(text: str) -> None:
    made, counts = redact(one(text))
    assert not scan(made)
    assert redact(made) == (made, {})
    assert bool(counts) == bool(scan(one(text)))
    assert counts or made == one(text)


@given(st.lists(st.tuples(st.sampled_from(POSITIVE), st.text(alphabet="bcdf ghé中\n")), max_size=6))
def test_redaction_changes_nothing_but_what_it_finds(parts: list[tuple[tuple[str, str, str, str], str]]) -> None:
    text = "".join(f"{before}{secret}{after}\n{filler}\n" for (_, before, secret, after), filler in parts)
    kept = "".join(f"{before}[{kind}]{after}\n{filler}\n" for (kind, before, _, after), filler in parts)
    assert redact(one(text))[0] == Text(kept)


@pytest.mark.parametrize(
    "piece",
    [
        "jane.doe@firma.de ",
        "4111 1111 1111 1111 ",
        "1 2 3 4 5 6 7 8 9 ",
        "0123456789" * 3,
        "eyJaaaaaaaa-",
        "-----BEGIN PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----" + 50 * " " + "-----END PRIVATE KEY-----",
        "password=password=",
        "aws aws aws =",
        "a.b-c+d",
        "://a:b",
    ],
)
def test_time_grows_with_the_length_and_no_faster(piece: str) -> None:
    def seconds(size: int) -> float:
        row = one(piece * (size // len(piece)))
        start = time.process_time()
        redact(row)
        return time.process_time() - start

    seconds(1000)
    short, long = min(seconds(20_000) for _ in range(3)), seconds(320_000)
    assert long < 16 * 6 * max(short, 1e-3), f"{short:.4f} s, then {long:.4f} s for 16 times the text"


def test_texts_are_all_that_is_mapped() -> None:
    row = Chat([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])
    assert list(texts(mapped(row, str.upper))) == ["A", "B"]
    assert list(texts(mapped(Text("x"), str.upper))) == ["X"]
    assert list(texts(mapped(Plain("x", "y"), str.upper))) == ["X", "Y"]


def test_a_clean_row_is_searched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sensitive, "_find", None)  # would raise if it were called
    assert not scan(Text("The printer on the second floor is out of paper again; please refill it by 9."))
