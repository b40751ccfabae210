"""The checks that a match must pass before it counts as personal or secret (the patterns are in kinds.py).

A check sees the match in its text and says which bytes of it are meant, so that what stands beside decides too; where
it says nothing, the next match may begin at the next word or group of digits. Checks keep false alarms few: sums of
digits, lengths by country, addresses that belong to somebody, values that look drawn by chance.
"""

import ipaddress
import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import TypeAlias

Span: TypeAlias = tuple[int, int]

# Characters of an IBAN by country (the SWIFT registry, ISO 13616).
IBAN = {
    length: set(countries.split())
    for length, countries in {
        15: "NO",
        16: "BE",
        18: "DK FI FO GL NL",
        19: "MK SI",
        20: "AT BA EE KZ LT LU XK",
        21: "CH HR LI LV",
        22: "BG BH CR DE GB GE IE ME RS VA",
        23: "AE GI IL IQ TL",
        24: "AD CZ ES MD PK RO SA SE SK TN VG",
        25: "LY PT ST",
        26: "IS TR",
        27: "FR GR IT MC MR SM",
        28: "AL AZ BY CY DO GT HU LB PL SV",
        29: "BR EG PS QA UA",
        30: "JO KW MU",
        31: "MT SC",
        32: "LC",
    }.items()
}
# Issuers' first digits and lengths (ISO/IEC 7812, as the card networks publish them).
_CARD = re.compile(
    rb"4\d{15}|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}"
    rb"|3(?:0[0-5]|[689]\d)\d{11}|6(?:011|4[4-9]\d|5\d\d)\d{12}|35(?:2[89]|[3-8]\d)\d{12}|62\d{14,17}"
)
# Names that nobody owns (RFC 2606), and what an @ does in file names.
_NOBODY = re.compile(
    rb"(?:^|\.)(?:example\.(?:com|org|net)|example|test|invalid|localhost|png|jpe?g|gif|svg|webp|css|js)$", re.I
)
_PLACEHOLDER = re.compile(rb"[${%<*]|x{3,}|pass(?:word|wd|phrase)?$|secret$|changeme|your[-_]", re.I)
_HERE = re.compile(rb"localhost|host\b|127\.|example\.", re.I)
# What code assigns: names with dots or in snake case, and words with one digit in them.
_NAME = re.compile(rb"(?:[A-Za-z_]\w*\.)+[A-Za-z_]\w*|_*[a-z0-9]+(?:_[a-z0-9]+)+|[A-Za-z]+\d[A-Za-z]*")
_BODY = re.compile(rb"[A-Za-z0-9+/=]{40}")  # lines of a key have 64
_WORD = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
_DIGITS = frozenset(b"0123456789")


def digits(data: bytes) -> bytes:
    """Its digits alone."""
    return bytes(byte for byte in data if byte in _DIGITS)


def alone(data: bytes, start: int, end: int) -> Span | None:
    """A match that is no part of a longer word, number or identifier."""
    before, after = data[max(0, start - 2) : start], data[end : end + 2]
    if before[-1:] and (before[-1] in _WORD or (before[-1:] == b"-" and before[0] in _WORD)):
        return None
    if before[-1:] == b"." and before[0] in _DIGITS:
        return None
    if after and (after[0] in _WORD or (after[0] in b".-" and after[1:] and after[1] in _DIGITS)):
        return None
    return start, end


def ends(data: bytes, start: int, end: int) -> Iterator[int]:
    """Where the groups of digits of a match end, the last first."""
    for stop in range(end, start, -1):
        if data[stop - 1] in _DIGITS and data[stop : stop + 1] not in _TEN:
            yield stop


def email(data: bytes, start: int, end: int) -> Span | None:
    """An address at a domain that somebody may own; git@ is a login of no person, and package@1.2.3 a version."""
    name, _, domain = data[start:end].partition(b"@")
    version = re.match(rb"\d+\.\d", domain) or data[end : end + 1] in _TEN
    return None if name == b"git" or version or _NOBODY.search(domain) else (start, end)


def card(data: bytes, start: int, end: int) -> Span | None:
    """The first groups of digits that make a number of a known issuer and pass Luhn's sum (ISO/IEC 7812)."""
    for stop in ends(data, start, end):
        number = digits(data[start:stop])
        if _CARD.fullmatch(number) and len(set(number)) > 1 and luhn(number) and alone(data, start, stop):
            return start, stop
    return None


def luhn(number: bytes) -> bool:
    """Whether the last digit is the check digit of those before."""
    doubled = b"0246813579"
    values = [byte if place % 2 == 0 else doubled[byte - 48] for place, byte in enumerate(reversed(number))]
    return sum(value - 48 for value in values) % 10 == 0


def iban(data: bytes, start: int, end: int) -> Span | None:
    """As many characters as the country's numbers have, if their remainder by 97 is 1 (ISO 13616)."""
    country = data[start : start + 2].decode()
    length = next((length for length, countries in IBAN.items() if country in countries), 0)
    places = [place for place in range(start, end) if data[place] in _WORD][:length]
    if not length or len(places) < length or not alone(data, start, places[-1] + 1):
        return None
    number = bytes(data[place] for place in places).decode()
    remainder = int("".join(str(int(letter, 36)) for letter in number[4:] + number[:4])) % 97
    return (start, places[-1] + 1) if remainder == 1 else None


def phone(data: bytes, start: int, end: int) -> Span | None:
    """A number of 8 to 15 digits behind + (E.164; a 0 in brackets beside), or of 10 to 12 that no number stands beside."""
    foreign = data[start : start + 1] == b"+"
    fewest, most = (8, 16) if foreign else (10, 12)
    for stop in ends(data, start, end):
        if fewest <= len(digits(data[start:stop])) <= most and alone(data, start, stop):
            return (start, stop) if foreign or not _among_numbers(data, start, stop) else None
    return None


def _among_numbers(data: bytes, start: int, end: int) -> bool:
    before, after = data[max(0, start - 2) : start], data[end : end + 2]
    return any(
        len(pair) == 2 and pair[gap] == 32 and pair[1 - gap] in _DIGITS for pair, gap in ((before, 1), (after, 0))
    )


def ipv4(data: bytes, start: int, end: int) -> Span | None:
    """An address on the open internet; networks, private addresses, versions and numbers of sections are nobody's."""
    parts = data[start:end].split(b".")
    if any(int(part) > 255 or (len(part) > 1 and part[0] == 48) for part in parts) or parts[3] == b"0":
        return None
    if data[max(0, start - 9) : start].lower().rstrip(b" :=").endswith((b"version", b"release", b" ver", b" v")):
        return None
    if max(map(int, parts)) < 20 or not ipaddress.IPv4Address(data[start:end].decode()).is_global:
        return None
    return alone(data, start, end)


def ipv6(data: bytes, start: int, end: int) -> Span | None:
    """A global unicast address (2000::/3), whole; the range for documentation (RFC 3849) is nobody's."""
    try:
        address = ipaddress.IPv6Address(data[start:end].decode())
    except ValueError:
        return None
    return alone(data, start, end) if address.is_global else None


def ssn(data: bytes, start: int, end: int) -> Span | None:
    """A number that the Social Security Administration may have given out."""
    area, group, serial = data[start:end].split(b"-")
    possible = area not in (b"000", b"666") and area[:1] != b"9" and group != b"00" and serial != b"0000"
    return alone(data, start, end) if possible else None


def login(data: bytes, start: int, end: int) -> Span | None:
    """The name and password between :// and @, unless they only stand for some."""
    start, end = data.index(b"://", start, end) + 3, end - 1
    known = _PLACEHOLDER.match(data[start:end].partition(b":")[2]) or _HERE.match(data[end + 1 : end + 10])
    return None if known else (start, end)


def drawn(data: bytes, start: int, end: int) -> Span | None:
    """A token that looks drawn by chance: letters and digits, 3 bits a character or more."""
    value = data[start:end]
    mixed = any(byte in _DIGITS for byte in value) and any(byte > 64 for byte in value)
    return alone(data, start, end) if mixed and entropy(value) >= 3 and b"EXAMPLE" not in value else None


def assigned(data: bytes, start: int, end: int) -> Span | None:
    """The last word of `password = …`, where it looks drawn by chance and does not only stand for a password."""
    start = max(data.rfind(mark, start, end) for mark in (b"=", b":", b" ", b"\t", b"\n", b'"', b"'", b"`", b">")) + 1
    value = data[start:end]
    mixed = any(byte in _DIGITS for byte in value) and any(byte > 64 for byte in value)
    known = _PLACEHOLDER.match(value) or _NAME.fullmatch(value) or b"EXAMPLE" in value
    return (start, end) if mixed and not known and len(value) >= 8 and entropy(value) >= 2.5 else None


def aws(data: bytes, start: int, end: int) -> Span | None:
    """The 40 characters behind the name, if there are no more of them."""
    span = assigned(data, start, end)
    return span and alone(data, *span)


def entropy(value: bytes) -> float:
    """Bits a byte, by how often each byte is there (Shannon 1948)."""
    return -sum(count / len(value) * math.log2(count / len(value)) for count in Counter(value).values())


def pem(data: bytes, start: int, end: int) -> Span | None:
    """A key with a body, and not the mere marks of one."""
    return (start, end) if _BODY.search(data, start, end) else None


def whole(_data: bytes, start: int, end: int) -> Span | None:
    """All of the match: the pattern alone is proof."""
    return start, end


_TEN = tuple(bytes([byte]) for byte in sorted(_DIGITS))
