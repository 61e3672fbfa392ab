"""What models say of themselves is worked out when it is asked for, and is complete."""

from __future__ import annotations

import subprocess
import sys

from testbed.experiment.file import Experiment
from testbed.lab.file import LabFile
from testbed.schema.documented import sentences
from testbed.schema.fields import FileModel


class Base(FileModel):
    speed_max: int = 1
    """Speed at most,
    in m/s."""
    silent: int = 2


class Derived(Base):
    silent: int = 3
    """Says something now."""
    _private: int = 4


def test_sentences_stand_below_fields_and_are_inherited() -> None:
    assert dict(sentences(Base)) == {"speed_max": "Speed at most,\nin m/s."}
    assert dict(sentences(Derived)) == {**sentences(Base), "silent": "Says something now."}
    properties = Derived.model_json_schema(by_alias=True)["properties"]
    assert properties["speed-max"]["description"] == "Speed at most,\nin m/s."


def test_every_key_of_a_lab_and_an_experiment_has_its_sentence_in_the_schema() -> None:
    for model in (LabFile, Experiment):
        schema = model.model_json_schema(by_alias=True)
        parts = [schema, *schema["$defs"].values()]
        missing = [
            key for part in parts for key, held in part.get("properties", {}).items() if "description" not in held
        ]
        assert missing == []


def test_no_command_reads_sentences_or_makes_schemas_that_it_does_not_show() -> None:
    watch = (
        "from testbed.schema import documented; from pydantic import BaseModel, json_schema\n"
        "import testbed.cli\n"
        "assert documented.sentences.cache_info().currsize == 0\n"
    )
    made = (
        "import pydantic.json_schema as j\ndef no(*_, **__): raise AssertionError\nj.GenerateJsonSchema.generate = no\n"
    )
    subprocess.run([sys.executable, "-c", made + watch], check=True)
