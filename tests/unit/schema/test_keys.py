"""The keys of a model as the reference shows them: paths, what they hold, defaults, and how a path is matched."""

from typing import Annotated, Literal

import pytest
from pydantic import Field

from testbed.experiment.file import Experiment
from testbed.lab.file import LabFile
from testbed.schema.fields import FileModel, Rate, SizeOrAuto
from testbed.schema.keys import UNSET, Key, keys_of, matching

LAB = list(keys_of(LabFile))
EXPERIMENT = list(keys_of(Experiment))


class Port(FileModel):
    """A port."""

    rate: Rate = Field(description="Rate of\nthe line.")
    mode: Literal["a", "b"] = "a"


class Device(FileModel):
    """A device."""

    deep_buffer: SizeOrAuto | None = None
    weight: Annotated[int, Field(ge=0, lt=256)] = 3
    ports: tuple[Port, ...] = ()
    named: dict[str, Port] = Field(default_factory=dict)


def row(keys: list[Key], path: str) -> Key:
    return next(key for key in keys if key.path == path)


def test_a_key_says_what_it_holds_its_default_and_its_sentence() -> None:
    keys = list(keys_of(Device))
    assert [key.path for key in keys] == [
        "deep-buffer",
        "weight",
        "ports",
        "ports[].rate",
        "ports[].mode",
        "named",
        "named.NAME.rate",
        "named.NAME.mode",
    ]
    assert row(keys, "deep-buffer").holds == "size in bytes, or auto"
    assert row(keys, "deep-buffer").default == UNSET
    assert row(keys, "weight").holds == "whole number from 0 below 256"
    assert row(keys, "weight").default == "3"
    assert row(keys, "ports[].rate").required and row(keys, "ports[].rate").sentence == "Rate of the line."
    assert row(keys, "ports[].mode").holds == "one of a, b" and not row(keys, "ports[].mode").section
    assert row(keys, "named").section


def test_a_default_has_its_unit() -> None:
    assert row(EXPERIMENT, "limit").default == "60s"
    assert row(EXPERIMENT, "transport.chunk").default == "64KiB"
    assert row(EXPERIMENT, "seed").default == "1"


@pytest.mark.parametrize(
    ("wanted", "first"),
    [
        ("topology.links[2].length", "topology.links[].length"),
        ("topology.nodes.leaf1.buffer", "topology.nodes.NAME.buffer"),
        ("circuits.mirrors.steps[0].at", "circuits.NAME.steps[].at"),
    ],
)
def test_numbers_and_chosen_names_match_any(wanted: str, first: str) -> None:
    assert [key.path for key in matching(LAB, wanted)] == [first]


def test_a_section_brings_all_that_stands_in_it() -> None:
    paths = [key.path for key in matching(EXPERIMENT, "lossless.ecn")]
    assert paths == ["lossless.ecn", *(f"lossless.ecn.{key}" for key in ("preset", "kmin", "kmax", "pmax"))]


def test_a_last_word_alone_finds_every_key_that_ends_so() -> None:
    assert [key.path for key in matching(EXPERIMENT, "window")] == ["window", "transport.window"]
    assert {key.path for key in matching(LAB, "headroom")} >= {"topology.nodes.NAME.thresholds.headroom"}
    assert matching(LAB, "no-such-key") == []


def test_no_key_of_a_file_holds_a_value_that_words_do_not_describe() -> None:
    vague = [key.path for key in (*LAB, *EXPERIMENT) if "value" in key.holds.split(", or ")]
    assert vague == []


@pytest.mark.parametrize("keys", [LAB, EXPERIMENT], ids=["lab", "experiment"])
def test_every_key_has_a_whole_sentence(keys: list[Key]) -> None:
    wrong = [key.path for key in keys if not (key.sentence[:1].isupper() and key.sentence.endswith("."))]
    assert wrong == []


@pytest.mark.parametrize("keys", [LAB, EXPERIMENT], ids=["lab", "experiment"])
def test_a_key_that_may_be_left_out_says_what_that_means(keys: list[Key]) -> None:
    wrong = [key.path for key in keys if key.default == UNSET and "left out" not in key.sentence]
    assert wrong == []


def test_the_string_below_a_field_is_its_sentence() -> None:
    class Fan(FileModel):
        """A fan."""

        speed: int = 0
        """Turns per minute; left out, it stands still."""

    assert [key.sentence for key in keys_of(Fan)] == ["Turns per minute; left out, it stands still."]


def test_the_profiles_of_a_lab_have_the_keys_of_a_profile() -> None:
    assert row(LAB, "profiles.NAME.ber-limit").holds == "bit error ratio before the FEC"
    assert row(LAB, "profiles.NAME.like").default == UNSET
    assert [key.path for key in matching(LAB, "profiles.mine.reach")] == ["profiles.NAME.reach"]
