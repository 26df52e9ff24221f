"""The keyring: the public history of an operator's keys, and which of them are to be trusted.

It is a text file of signed statements (`evidence.key_statement`), to which statements are only ever added,
with an empty line between two. Each carries the hash of all before it. Whoever trusts a first key, from
their own hands, reads from it which keys took its place, and which do not count any more.

What a statement convinces of depends on who signed it:

- *created* by the key itself shows only that its owner has it; by the recovery key, that the holder of
  that key vouches for it.
- *rotated*: the old key vouches for the new one. Not believed if the old one was compromised by then.
- *retired*, *revoked*: believed of the key itself, of the recovery key, and *revoked* of a later key of
  the same succession. A thief may say so, too; it lends a thief nothing.

What cannot be noticed in one file: that statements at its end are missing, and that there is another
continuation of it elsewhere. An older copy shows both, given as `seen`, if that has what is missing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final, NoReturn

from evidence.errors import ChainBroken, KeyRefused, MalformedInput, SignatureRefused, Unexpected
from evidence.key_statement import KeyStatement, Use, format_time, name_of, open_statement
from evidence.keys import VerifyingKey
from evidence.note import Note, NoteKey, format_note, parse_note
from evidence.signing import Ed25519Signer

MAX_BYTES: Final = 1024 * 1024
"""How large a keyring may be, in bytes."""

_POLICY_LINES: Final = {"log": "log", "bundle": "#tracebus bundle-key", "receipt": "#tracebus receipt-key"}


@dataclass(frozen=True, slots=True)
class ListedKey:
    """What a keyring says of a key. Times are POSIX seconds.

    Attributes:
        key: The key, and its name.
        use: What it signs.
        created: When it came into use.
        voucher: The key that vouched for it: the one whose place it took, or the recovery key.
        retired: Since when it is not used any more.
        revoked: Since when somebody else may have had it.
        why: Why it is trusted; None if it is not.
    """

    key: NoteKey
    use: Use
    created: int
    voucher: NoteKey | None = None
    retired: int | None = None
    revoked: int | None = None
    why: str | None = None

    @property
    def is_in_use(self) -> bool:
        """Whether it was neither retired nor revoked."""
        return self.retired is None and self.revoked is None

    def counts_at(self, time: int) -> bool:
        """Tell whether it was in use at a time, and in its owner's hands only."""
        ends = [end for end in (self.retired, self.revoked) if end is not None]
        return self.created <= time < min(ends, default=time + 1)


@dataclass(frozen=True, slots=True)
class Keyring:
    """The keys of a keyring, in the order in which they were created."""

    keys: tuple[ListedKey, ...]

    @classmethod
    def load(
        cls, data: bytes, trusted: Iterable[NoteKey | VerifyingKey | str] = (), *, seen: bytes = b""
    ) -> Keyring:
        """Read a keyring strictly, verify all of its statements, and tell which keys are to be trusted.

        Args:
            data: The file.
            trusted: Keys that the reader trusts, from elsewhere; text is a C2SP verifier key. Without any,
                the file is verified, and no key of it is trusted.
            seen: An older copy of the file, all of which must still be there.

        Raises:
            MalformedInput: It is none; `place` is the statement.
            SignatureRefused: A signature is wrong, missing or foreign, or its key may not say this.
            ChainBroken: A statement does not follow from what stands before it, or the file from `seen`.
            Unexpected: None of the trusted keys is in it.
            KeyRefused: A trusted key cannot be read.
        """
        known = {NoteKey.from_vkey(key) if isinstance(key, str) else key for key in trusted}
        if not data.startswith(seen):
            raise ChainBroken("keyring", "does not go on from the older copy: one of them is not the owner's")
        reader = _Reader()
        for place, note, after in _notes(data):
            statement, found = open_statement(note, place)
            if found != after:
                raise ChainBroken(place, "was not made after the statements that stand before it")
            reader.read(place, statement)
        keys = tuple(_with_reasons(reader.listed, known))
        if known and not any(key.why for key in keys):
            raise Unexpected("keyring", "lists none of the keys that are trusted")
        return cls(keys)

    def find(self, key: VerifyingKey) -> ListedKey | None:
        """Return what the keyring says of a key, trusted or not."""
        return next((listed for listed in self.keys if listed.key.key == key), None)

    def trusted(self, use: Use, at: int) -> tuple[ListedKey, ...]:
        """Return the keys that are trusted for a use at a time, POSIX seconds.

        A time that only the maker of a signature tells is worth nothing once the key was stolen.
        """
        return tuple(key for key in self.keys if key.why and key.use == use and key.counts_at(at))

    def check_use(self, key: NoteKey | VerifyingKey, use: Use) -> None:
        """Check, before signing, that a key is listed for this use, and was neither retired nor revoked.

        A `NoteKey` must also have its name there: a log's key that of the log. The time does not matter, so
        that no clock that was set back brings a retired key into use again.

        Raises:
            KeyRefused: It must not be used.
        """
        raw = key.key if isinstance(key, NoteKey) else key
        listed = self.find(raw)
        if listed is None:
            raise KeyRefused(f"key {raw.key_id} is not in the keyring")
        name = f"key {name_of(listed.key)}"
        if listed.use != use:
            raise KeyRefused(f"{name} is for use {listed.use}, not {use}: a key has one use")
        if isinstance(key, NoteKey) and key.name != listed.key.name:
            raise KeyRefused(f"{name} is not the key of {key.name}")
        if listed.revoked is not None:
            raise KeyRefused(f"{name} was revoked, compromised since {format_time(listed.revoked)}")
        if listed.retired is not None:
            raise KeyRefused(f"{name} was retired {format_time(listed.retired)}")

    def policy_lines(self) -> list[str]:
        """Return the lines of a trust policy (`schemas/trust-v1.md`) for the keys that are trusted."""
        keys = [key for key in self.keys if key.why and key.use in _POLICY_LINES]
        lines = [f"{_POLICY_LINES[key.use]} {key.key.to_vkey()}" for key in keys]
        for key in keys:
            vkey = key.key.to_vkey()
            if key.retired is not None:
                lines.append(f"#tracebus retired {vkey} since {format_time(key.retired)}")
            if key.revoked is not None:
                lines.append(f"#tracebus revoked {vkey} compromised-since {format_time(key.revoked)}")
        return lines


def add_statement(data: bytes, statement: KeyStatement, *held: Ed25519Signer) -> bytes:
    """Return a keyring with one more statement, signed with the keys held; no data is a new keyring.

    Raises:
        ValueError: A key that must sign it is not held.
        EvidenceError: The keyring is refused, or would be with this statement.
    """
    note = statement.sign(hashlib.sha256(data).digest(), *held)
    grown = (data + b"\n" if data else b"") + format_note(note)
    Keyring.load(grown)
    return grown


def _notes(data: bytes) -> Iterator[tuple[str, Note, bytes]]:
    """Yield each statement with its place, and the SHA-256 of what stands before it."""
    if len(data) > MAX_BYTES:
        raise MalformedInput("keyring", f"{len(data)} bytes, expected at most {MAX_BYTES}")
    if b"\x7f" in data:
        raise MalformedInput(f"byte {data.index(0x7F)}", "control character 0x7f")
    parts = data.split(b"\n\n")
    if len(parts) % 2 or not data.endswith(b"\n"):
        raise MalformedInput("keyring", "expected statements and their signatures: is the file cut off?")
    before = hashlib.sha256()
    for number, (text, signatures) in enumerate(zip(parts[::2], parts[1::2], strict=True), 1):
        place, note = f"statement {number}", text + b"\n\n" + signatures.removesuffix(b"\n") + b"\n"
        try:
            parsed = parse_note(note)
        except MalformedInput as error:
            raise MalformedInput(place, str(error)) from None
        yield place, parsed, before.digest()
        before.update(note if number == 1 else b"\n" + note)


class _Reader:
    """Takes statements in their order, and refuses those that may not stand there."""

    def __init__(self) -> None:
        self.listed: dict[VerifyingKey, ListedKey] = {}
        self._successors: dict[VerifyingKey, VerifyingKey] = {}
        self._time: int | None = None
        self._place = ""

    def read(self, place: str, statement: KeyStatement) -> None:
        self._place = place
        if self._time is not None and statement.at < self._time:
            raise MalformedInput(place, f"made before the one above it, at {format_time(self._time)}")
        self._time = statement.at
        match statement.change:
            case "created":
                self._created(statement)
            case "rotated":
                self._rotated(statement)
            case "retired":
                self._retired(statement)
            case "revoked":
                self._revoked(statement)

    def _refuse(self, reason: str) -> NoReturn:
        raise SignatureRefused(self._place, reason)

    def _created(self, statement: KeyStatement) -> None:
        if statement.use == "recovery" and self.listed:
            self._refuse("a recovery key can only be the first in its keyring")
        voucher = None
        if statement.by != statement.key:
            voucher = self._voucher(statement)
            if voucher.use != "recovery":
                self._refuse(
                    f"{name_of(voucher.key)} is no recovery key, and vouches only for what takes its place"
                )
        self._list(statement, voucher)

    def _rotated(self, statement: KeyStatement) -> None:
        old = self._voucher(statement)
        if statement.use == "recovery":
            self._refuse("nothing takes the place of a recovery key but a new keyring")
        if (old.use, old.key.name) != (statement.use, statement.key.name):
            self._refuse(f"expected a key of use {old.use} and name {old.key.name} in its place")
        self._list(statement, old)
        self.listed[old.key.key] = replace(old, retired=statement.at)
        self._successors[old.key.key] = statement.key.key

    def _retired(self, statement: KeyStatement) -> None:
        key = self._spoken_of(statement)
        if not key.is_in_use:
            self._refuse(f"{name_of(key.key)} was retired or revoked above")
        if not self._is_by_itself_or_recovery(statement):
            self._refuse(f"{name_of(statement.by)} may not retire {name_of(key.key)}")
        self.listed[key.key.key] = replace(key, retired=statement.at)

    def _revoked(self, statement: KeyStatement) -> None:
        key, since = self._spoken_of(statement), statement.compromised_since
        assert since is not None  # noqa: S101 (a KeyStatement that revokes has it)
        if since > statement.at:
            self._refuse(f"compromised since {format_time(since)}, which is after the statement was made")
        if key.revoked is not None and since >= key.revoked:
            self._refuse(
                f"{name_of(key.key)} was revoked above, compromised since {format_time(key.revoked)}"
            )
        if not self._is_by_itself_or_recovery(statement) and not self._follows(statement.by, key.key):
            self._refuse(f"{name_of(statement.by)} may not revoke {name_of(key.key)}")
        self.listed[key.key.key] = replace(key, revoked=since)

    def _voucher(self, statement: KeyStatement) -> ListedKey:
        """Return the key on whose word another comes into use: listed, and in use itself."""
        voucher = self.listed.get(statement.by.key)
        if voucher is None or voucher.key != statement.by:
            self._refuse(f"by {name_of(statement.by)}, which is not in the keyring")
        if not voucher.is_in_use:
            self._refuse(f"by {name_of(statement.by)}, which was replaced, retired or revoked above")
        return voucher

    def _spoken_of(self, statement: KeyStatement) -> ListedKey:
        key = self.listed.get(statement.key.key)
        if key is None or (key.key, key.use) != (statement.key, statement.use):
            self._refuse(f"of {name_of(statement.key)}, which is not in the keyring for use {statement.use}")
        return key

    def _is_by_itself_or_recovery(self, statement: KeyStatement) -> bool:
        by = self.listed.get(statement.by.key)
        return by is not None and by.key == statement.by and (by.use == "recovery" or by.key == statement.key)

    def _follows(self, later: NoteKey, key: NoteKey) -> bool:
        """Tell whether a key took the place of another, or of one that did."""
        successor = self._successors.get(key.key)
        while successor is not None and successor != later.key:
            successor = self._successors.get(successor)
        return successor is not None and self.listed[successor].key == later

    def _list(self, statement: KeyStatement, voucher: ListedKey | None) -> None:
        key = statement.key
        if key.key in self.listed:
            raise MalformedInput(
                self._place, f"the key {name_of(key)} stands above: a key has one use, and one start"
            )
        if any((old.key.name, old.key.key_id) == (key.name, key.key_id) for old in self.listed.values()):
            raise MalformedInput(
                self._place, f"another key {name_of(key)} stands above, of the same name and id"
            )
        by = None if voucher is None else voucher.key
        self.listed[key.key] = ListedKey(key, statement.use, statement.at, by)


def _with_reasons(
    listed: dict[VerifyingKey, ListedKey], known: set[NoteKey | VerifyingKey]
) -> Iterator[ListedKey]:
    """Yield the keys, each with the reason to trust it, if there is one."""
    believed: set[VerifyingKey] = set()
    for key in listed.values():
        why = None
        if key.key in known or key.key.key in known:
            why = "you trust it"
        elif key.voucher is not None and key.voucher.key in believed:
            voucher = listed[key.voucher.key]
            if voucher.revoked is None or key.created < voucher.revoked:
                why = f"{voucher.use} key {name_of(voucher.key)} vouches for it, {format_time(key.created)}"
        if why is not None:
            believed.add(key.key.key)
        yield replace(key, why=why)
