"""The manifest for Kubernetes in the guide: fields that a Job has, and a command that counts its shares from 1.

The fields are those of batch/v1 Job and core/v1 PodSpec that the manifest uses, after the reference of the Kubernetes API (Job v1
batch, PodSpec v1 core, of release 1.31): nothing else may stand there, and what is required has to.
"""

import subprocess
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from testbed.errors import ExperimentError
from testbed.schema.source import parse_yaml
from testbed.study.means import Shard, read_shard
from tests.conftest import ROOT
from tests.documents import blocks

GUIDE = ROOT / "docs" / "guides" / "sweeps-on-a-cluster.md"
# RFC 1123, as names of objects are.
Label = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
Quantity = Annotated[str, Field(pattern=r"^\d+(\.\d+)?(m|k|[KMGTPE]i?)?$")]


class Fields(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Mount(Fields):
    name: Label
    mountPath: Annotated[str, Field(pattern="^/[^:]*$")]


class Resources(Fields):
    requests: dict[Literal["cpu", "memory"], Quantity] = Field(default_factory=dict)
    limits: dict[Literal["cpu", "memory"], Quantity] = Field(default_factory=dict)


class Container(Fields):
    name: Label
    image: str
    command: list[str]
    args: list[str]
    resources: Resources
    volumeMounts: list[Mount]


class Claim(Fields):
    claimName: Label


class Volume(Fields):
    name: Label
    persistentVolumeClaim: Claim


class Pod(Fields):
    # A Job's pods may not have Always, the default of other pods.
    restartPolicy: Literal["Never", "OnFailure"]
    containers: Annotated[list[Container], Field(min_length=1)]
    volumes: list[Volume]


class Template(Fields):
    spec: Pod


class JobSpec(Fields):
    completions: Annotated[int, Field(ge=1)]
    parallelism: Annotated[int, Field(ge=1, le=100_000)]
    completionMode: Literal["Indexed"]
    backoffLimit: Annotated[int, Field(ge=0)]
    template: Template


class Metadata(Fields):
    name: Label


class Job(Fields):
    apiVersion: Literal["batch/v1"]
    kind: Literal["Job"]
    metadata: Metadata
    spec: JobSpec


@pytest.fixture
def text() -> str:
    return next(block.text for block in blocks(GUIDE) if block.title == "job.yaml")


def job(text: str) -> Job:
    return Job.model_validate(parse_yaml(text, "job.yaml", ExperimentError).data)


def test_the_manifest_has_the_fields_of_an_indexed_job(text: str) -> None:
    spec = job(text).spec
    (container,) = spec.template.spec.containers
    assert spec.completions == spec.parallelism == 8
    volumes = {volume.name for volume in spec.template.spec.volumes}
    assert {mount.name for mount in container.volumeMounts} == volumes
    assert "--cache /points" in container.args[0] and container.volumeMounts[0].mountPath == "/points"


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("completionMode: Indexed", "completionMode: indexed"),
        ("restartPolicy: Never", "restartPolicy: Always"),
        ("completions: 8", 'completions: "8"'),
        ("claimName", "claim"),
        ("  name: sweep\n", "  name: Sweep\n"),
    ],
)
def test_a_manifest_that_is_none_is_noticed(text: str, right: str, wrong: str) -> None:
    assert right in text
    with pytest.raises(ValidationError):
        job(text.replace(right, wrong, 1))


@pytest.mark.parametrize("index", [0, 7])
def test_the_command_of_the_manifest_counts_its_shares_from_one(text: str, index: int, tmp_path: Path) -> None:
    (container,) = job(text).spec.template.spec.containers
    fake = tmp_path / "testbed"
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    fake.chmod(0o755)
    done = subprocess.run(
        [*container.command, *container.args],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "JOB_COMPLETION_INDEX": str(index)},
        capture_output=True,
        text=True,
        check=True,
    )
    words = done.stdout.splitlines()
    assert words[:4] == ["sweep", "incast", "-t", "two-dc"]
    assert read_shard(words[words.index("--shard") + 1]) == Shard(index + 1, 8)
