"""What counts as personal or secret: a table of patterns, each with the check that a match must pass.

Patterns are RE2's: no look-around, and no input makes them slow.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from tasks.data.checks import (
    Span,
    alone,
    assigned,
    aws,
    card,
    drawn,
    email,
    iban,
    ipv4,
    ipv6,
    login,
    pem,
    phone,
    ssn,
    whole,
)

Check: TypeAlias = Callable[[bytes, int, int], Span | None]


class Kind(NamedTuple):
    """What is looked for, and the mark `[NAME]` that takes its place.

    `hint` is found wherever `pattern` is, and is cheap: all hints together are one small automaton.
    """

    name: str
    hint: str
    pattern: str
    check: Check = alone


_DIGITS_8 = "[0-9]" + 7 * r"[ .\-/()]{0,3}[0-9]"
_NAMES = (
    r"(?i:passwords?|passwd|passphrase|pwd|secrets?|secret_?key|api_?key|access_?key|auth_?token|token|credentials?)"
)
_IS = rf"{_NAMES}[\"'`]?\s{{0,3}}(?:=>|:=|[:=])"
# The first kind in this order has what two would claim. None can be found within a mark: what makes one takes no brackets.
KINDS = (
    Kind(
        "PRIVATE_KEY",
        "-----BEGIN ",
        r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----(?:\s|\\[rn]){0,4}"
        r"(?:[A-Za-z\-]{1,20}: [^\n\\]{1,99}(?:\s|\\[rn]){1,4}){0,5}[A-Za-z0-9+/=\s\\]{40,}"
        r"(?:-----END (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----)?",
        pem,
    ),
    Kind(
        "CREDENTIALS",
        r"://[^\s/@]+@",
        r"[A-Za-z][A-Za-z0-9+.]{1,15}://[^\s/:@\[\]\"'<>]{0,64}:[^\s/@\[\]\"'<>]{1,99}@",
        login,
    ),
    Kind("JWT", r"eyJ[A-Za-z0-9_\-]{8}", r"eyJ[A-Za-z0-9_\-]{8,}\.eyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{10,}", whole),
    Kind("AWS_KEY", r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{8}", r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}", drawn),
    Kind("AWS_SECRET", r"[=: \"'][A-Za-z0-9/+]{40}", r"(?i:aws)[^\n\[\]]{0,40}[=: \"'][A-Za-z0-9/+]{40}", aws),
    Kind(
        "GITHUB_TOKEN",
        r"gh[pousr]_[A-Za-z0-9]{8}|github_pat_",
        r"gh[pousr]_[A-Za-z0-9]{36,99}|github_pat_[A-Za-z0-9_]{60,99}",
        drawn,
    ),
    Kind(
        "GITLAB_TOKEN",
        r"gl(?:pat|dt|rt|ptt|cbt|ft|soat|agent)-",
        r"gl(?:pat|dt|rt|ptt|cbt|ft|soat|agent)-[A-Za-z0-9_\-]{20,99}",
        drawn,
    ),
    Kind(
        "SLACK_TOKEN",
        r"xox[abeoprs]-|hooks\.slack",
        r"xox[abeoprs]-[A-Za-z0-9\-]{10,99}|hooks\.slack\.com/services/[A-Za-z0-9/]{20,60}",
        drawn,
    ),
    Kind("STRIPE_KEY", r"[rs]k_(?:live|test)_|whsec_", r"(?:[rs]k_(?:live|test)|whsec)_[A-Za-z0-9]{16,120}", drawn),
    Kind("ANTHROPIC_KEY", "sk-ant-", r"sk-ant-[A-Za-z0-9_\-]{20,120}", drawn),
    Kind("OPENAI_KEY", r"sk-[A-Za-z0-9_\-]{20}", r"sk-[A-Za-z0-9_\-]{20,200}", drawn),
    Kind(
        "GOOGLE_KEY",
        r"AIza|GOCSPX|ya29\.",
        r"AIza[A-Za-z0-9_\-]{35}|GOCSPX-[A-Za-z0-9_\-]{28}|ya29\.[A-Za-z0-9_\-]{30,200}",
        drawn,
    ),
    Kind("HF_TOKEN", r"hf_[A-Za-z0-9]{20}", r"hf_[A-Za-z0-9]{30,60}", drawn),
    Kind("PASSWORD", _IS, rf"{_IS}\s{{0,3}}[\"'`]?[^\s\"'`\[\]<>(){{}}$,;=:]{{8,99}}", assigned),
    Kind(
        "EMAIL",
        r"[A-Za-z0-9._%+\-]@[A-Za-z0-9\-]+\.",
        r"[A-Za-z0-9._%+\-]{1,64}@(?:[A-Za-z0-9\-]{1,63}\.){1,6}[A-Za-z]{2,24}",
        email,
    ),
    Kind("IBAN", r"[A-Z]{2}[0-9]{2} ?[A-Z0-9]{4}", r"[A-Z]{2}[0-9]{2} ?(?:[A-Z0-9]{4} ?){2,7}[A-Z0-9]{1,4}", iban),
    Kind("CARD", _DIGITS_8, r"[2-6][0-9]{3}(?:[ \-]?[0-9]){9,15}", card),
    Kind("SSN", _DIGITS_8, r"[0-9]{3}-[0-9]{2}-[0-9]{4}", ssn),
    Kind("IP", r"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]", r"(?:[0-9]{1,3}\.){3}[0-9]{1,3}", ipv4),
    Kind("IP", r"[23][0-9A-Fa-f]{3}:[0-9A-Fa-f:]{2}", r"[23][0-9A-Fa-f]{3}:[0-9A-Fa-f:]{2,34}", ipv6),
    Kind(
        "PHONE",
        _DIGITS_8,
        r"\+[1-9](?:[ .\-/]?\(?[0-9]\)?){7,15}"  # international
        r"|\(?[2-9][0-9]{2}\)?[ .\-][2-9][0-9]{2}[.\-][0-9]{4}"  # North America
        r"|0[1-9](?:[ .][0-9]{2}){4}"  # France
        r"|\(?0[1-9][0-9]{1,4}\)?[ /\-][0-9]{5,8}"  # Germany, Austria, Britain's mobiles
        r"|\(?0[0-9]{1,4}\)?[ \-][0-9]{2,4}[ \-][0-9]{3,4}",  # Britain, Japan, Australia's cities
        phone,
    ),
)
