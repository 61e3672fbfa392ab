"""Nothing that comes off the bus does harm.

Every payload is a valid message or an InvalidMessage, never anything else.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.bus import messages, verbs

VALID: dict[str, Any] = {
    "version": 1,
    "correlation_id": "c0ffee-1",
    "reply_to": "testbed/two-dc/local/reply/c1",
    "verb": "inspect",
    "body": {"lab": "two-dc"},
}


def payload(**changes: Any) -> bytes:
    return json.dumps({key: value for key, value in {**VALID, **changes}.items() if value is not ...}).encode()


def test_a_request_survives_the_road() -> None:
    request = messages.decode_request(payload())
    assert messages.decode_request(messages.encode(request)) == request
    assert verbs.decode(request)[1] == messages.LabBody(lab="two-dc")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"version": 2}, "version"),
        ({"version": ...}, None),
        ({"verb": "format disk"}, "verb"),
        ({"verb": ...}, "verb"),
        ({"body": []}, "body"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_an_invalid_request_with_a_reply_topic_is_answerable(changes: dict[str, Any], reason: str | None) -> None:
    if reason is None:
        assert messages.decode_request(payload(**changes)).version == 1
        return
    with pytest.raises(messages.InvalidMessage, match=reason) as caught:
        messages.decode_request(payload(**changes))
    assert caught.value.reply_to == VALID["reply_to"]
    assert caught.value.correlation_id == VALID["correlation_id"]


@pytest.mark.parametrize(
    "changes",
    [
        {"reply_to": "elsewhere/two-dc/local/reply"},
        {"reply_to": "testbed/two-dc/local/command"},
        {"reply_to": "testbed/+/local/reply"},
        {"reply_to": "testbed/two-dc/local/reply/#"},
        {"reply_to": "testbed/two-dc/local/reply/c1\n"},
        {"reply_to": "testbed/../local/reply"},
        {"reply_to": 7},
        {"reply_to": ...},
        {"correlation_id": ...},
        {"correlation_id": "x" * (messages.MAX_ID_CHARS + 1)},
        {"correlation_id": ["a"]},
    ],
)
def test_no_answer_goes_outside_our_topics_or_without_an_identifier(changes: dict[str, Any]) -> None:
    with pytest.raises(messages.InvalidMessage) as caught:
        messages.decode_request(payload(**changes))
    assert caught.value.reply_to is None


@pytest.mark.parametrize(
    ("verb", "body"),
    [
        ("destroy", {"lab": "../../etc"}),
        ("destroy", {"lab": "a/b"}),
        ("destroy", {"lab": "a+"}),
        ("destroy", {"lab": "a\n"}),
        ("destroy", {"lab": ""}),
        ("destroy", {"lab": "x" * 64}),
        ("destroy", {}),
        ("capture_points", {"lab": "a", "node": "; reboot", "port": "eth1"}),
        ("deploy", {"plan": {}, "dilation": 0}),
        ("deploy", {"plan": {}, "dilation": "1"}),
        ("deploy", {"plan": "text", "dilation": 1}),
        ("list", {"lab": "a"}),
    ],
)
def test_a_body_must_fit_its_verb(verb: str, body: dict[str, Any]) -> None:
    request = messages.decode_request(payload(verb=verb, body=body))
    with pytest.raises(messages.InvalidMessage):
        verbs.decode(request)


class Recorder:
    """An owner that writes down which of its methods are called."""

    def __init__(self) -> None:
        self.called: list[str] = []

    def __getattr__(self, method: str) -> Any:
        return lambda *_: self.called.append(method)


def test_every_verb_has_a_method_of_its_own() -> None:
    owner: Any = Recorder()
    lab = {"lab": "two-dc"}
    bodies: dict[str, dict[str, Any]] = {
        "deploy": {"plan": lab, "dilation": 1},
        "run": {**lab, "spec": {}},
        "capture_points": {**lab, "node": "a1", "port": "eth1"},
        "impair": {**lab, "node": "a1", "port": "eth1", "action": "show"},
        **dict.fromkeys(("destroy", "inspect", "describe", "health", "cancel"), lab),
    }
    for name in verbs.TABLE:
        verb, body = verbs.decode(messages.decode_request(payload(verb=name, body=bodies.get(name, {}))))
        assert verb.name == name
        assert body.about == ("two-dc" if name in bodies else messages.NO_LAB)
        verb.perform(owner, body, lambda _: None)
    assert sorted(owner.called) == sorted({"listed" if name == "list" else name for name in verbs.TABLE} - {"shutdown"})


def test_an_unknown_verb_is_refused_by_its_name() -> None:
    request = messages.decode_request(payload(verb="destory"))
    with pytest.raises(messages.InvalidMessage, match='no verb is called "destory"'):
        verbs.decode(request)


def test_a_message_beyond_the_limit_is_refused_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    request = messages.decode_request(payload())
    monkeypatch.setattr(messages, "MAX_MESSAGE_BYTES", len(messages.encode(request)) - 1)
    with pytest.raises(messages.InvalidMessage, match="bytes"):
        messages.encode(request)
    with pytest.raises(messages.InvalidMessage, match="bytes"):
        messages.decode_request(payload(body={"lab": "x" * 200}))


@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_invalid(data: bytes) -> None:
    for decode in (messages.decode_request, messages.decode_reply):
        with pytest.raises(messages.InvalidMessage):
            decode(data)


SCALAR = st.none() | st.booleans() | st.integers() | st.text(max_size=20)
JSON = SCALAR | st.lists(SCALAR, max_size=3) | st.dictionaries(st.text(max_size=5), SCALAR, max_size=3)


@given(st.dictionaries(st.sampled_from(sorted(VALID)), JSON))
def test_any_json_in_the_envelope_is_a_request_or_invalid(changes: dict[str, Any]) -> None:
    document = {**VALID, **changes}
    try:
        request = messages.decode_request(json.dumps(document).encode())
        verbs.decode(request)
    except messages.InvalidMessage as error:
        assert (error.reply_to is None) == (error.correlation_id is None)
        if error.reply_to is not None:
            assert messages.is_reply_topic(error.reply_to)
    else:
        assert request.verb == document["verb"]


def test_deeply_nested_json_is_invalid_not_a_crash() -> None:
    with pytest.raises(messages.InvalidMessage):
        messages.decode_request(b'{"body":' + b"[" * 100_000 + b"]" * 100_000 + b"}")
