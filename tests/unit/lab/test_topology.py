"""Labs: every fault at once with its line, settings resolved in order, bounds on what a file may cost."""

import json
from pathlib import Path

import pytest

from testbed import topologies
from testbed.errors import TopologyError, UsageError
from testbed.lab.endpoints import Endpoint
from testbed.lab.hosts import Host
from testbed.lab.topology import Lab, Switch, lab_from, lab_schema, load_lab
from testbed.optics.behaviour import OperatingPoint, behaviour
from testbed.schema.source import MAX_BYTES, parse_yaml
from tests.golden_files import GOLDEN, check_golden

BAD_LABS = sorted((GOLDEN / "labs").glob("*.yaml"))


def lab(text: str) -> Lab:
    return lab_from(parse_yaml(text, "lab.yaml", TopologyError))


@pytest.mark.parametrize("path", BAD_LABS, ids=lambda path: path.stem)
def test_every_fault_with_its_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    with pytest.raises(TopologyError) as caught:
        load_lab(path.name)
    assert caught.value.exit_code == 2
    check_golden(path.with_suffix(".expected"), f"{caught.value}\n")


@pytest.mark.parametrize("path", sorted(topologies.files().values()), ids=lambda path: path.stem)
def test_labs_that_ship_are_sound(path: Path) -> None:
    assert load_lab(path.stem) == load_lab(str(path))


LAYERS = """
name: layers
topology:
  defaults: {buffer: 1MB, nic: {rate: 10G}, rate: 400G, length: 2km, loss: 1%}
  kinds:
    switch: {lossless: [4, 3], thresholds: {xoff: 100KB, headroom: auto}}
    host: {nic: {rate: 100G}}
  nodes:
    a1: {kind: host}
    b1: {kind: host, nic: {rate: 25G}}
    leaf: {kind: switch, buffer: 2MB, thresholds: {xon: 50KB}}
    spine: {kind: switch, lossless: [], buffer: auto}
  links:
    - {endpoints: ["a1:eth1", "leaf:eth10"], loss: [0, 1e-3]}
    - {endpoints: ["b1:eth1", "leaf:eth2"], delay: 7ns, rate: 10G, medium: memory, mtu: 9000}
    - {endpoints: ["leaf:eth9", "spine:eth1"]}
"""


def test_node_wins_over_kind_and_kind_over_defaults() -> None:
    layered = lab(LAYERS)
    a1, b1, leaf, spine = layered.nodes
    assert isinstance(a1, Host) and a1.nic_rate_bps == 100 * 10**9
    assert isinstance(b1, Host) and b1.nic_rate_bps == 25 * 10**9
    assert isinstance(leaf, Switch) and leaf.buffer_bytes == 2_000_000 and leaf.lossless == (3, 4)
    assert (leaf.thresholds.xoff_bytes, leaf.thresholds.xon_bytes, leaf.thresholds.headroom_bytes) == (
        100_000,
        50_000,
        None,
    )
    assert isinstance(spine, Switch) and spine.buffer_bytes is None and spine.lossless == ()


def test_links_take_the_rate_of_the_nic_and_the_delay_of_their_fibre() -> None:
    first, second, third = lab(LAYERS).links
    assert (first.rate_bps, first.delay_ps, first.loss) == (100 * 10**9, 9_794_000, (0.0, 1e-3))
    assert (second.rate_bps, second.delay_ps, second.length_mm) == (10 * 10**9, 7_000, None)
    assert (second.medium, second.mtu_bytes, second.frame_bytes) == ("memory", 9000, 9018)
    assert (third.rate_bps, third.loss, third.a) == (400 * 10**9, (0.01, 0.01), Endpoint("leaf", "eth9"))


OPTICS = """
name: optics
profiles:
  campus: {like: 400g-fr4, reach: [3km, our own fibre], power-w: 10}
topology:
  defaults: {rate: 10G, delay: 1us, loss: 1%, ber: 1e-5, acceleration: 100}
  nodes:
    a1: {kind: host}
    b1: {kind: host}
    leaf: {kind: switch}
    spine: {kind: switch}
  links:
    - {endpoints: ["a1:eth1", "leaf:eth1"], profile: campus, length: 3km}
    - {endpoints: ["leaf:eth2", "spine:eth2"], profile: microled-800g, lanes-down: 9, margin-db: 3}
    - {endpoints: ["leaf:eth3", "spine:eth3"], profile: 400g-dr4, length: 1m, lanes-down: 1, delay: 7ns, loss: 0}
    - {endpoints: ["b1:eth1", "spine:eth1"]}
    - {endpoints: ["leaf:eth4", "spine:eth4"], profile: 800g-dac}
"""


def test_a_profile_gives_what_the_link_does_not_say() -> None:
    optical = lab(OPTICS.replace("length: 1m, ", ""))
    campus, microled, dark, plain, copper = optical.links
    # Flight over 3 km, the decoder and a codeword at 400G, signal processing at both ends.
    assert (campus.rate_bps, campus.delay_ps, campus.length_mm) == (400 * 10**9, 14_691_000 + 262_600, 3_000_000)
    assert campus.loss == (0.0, 0.0) and campus.loss_process is not None
    expected = behaviour("400g-fr4", 0, OperatingPoint(ber=1e-5), acceleration=100).loss
    assert campus.loss_process == expected
    assert (microled.rate_bps, microled.carrier) == (798 * 10**9, True)
    light = optical.behaviour(microled)
    assert light is not None and light.margin_db == 3 and light.delay_ps == microled.delay_ps
    assert (dark.rate_bps, dark.carrier) == (400 * 10**9, False), "a laser link knows only all of its lanes"
    assert (dark.delay_ps, dark.length_mm, dark.loss_process) == (7_000, None, None)
    assert (plain.rate_bps, plain.delay_ps, plain.loss) == (10 * 10**9, 10**6, (0.01, 0.01))
    assert plain.optics is plain.loss_process is optical.behaviour(plain) is None
    assert copper.length_mm == 2_000, "a link that says no length is no longer than its profile reaches"


def test_a_lab_with_optics_can_be_sent_and_read_again() -> None:
    optical = lab(OPTICS.replace("length: 1m, ", ""))
    sent = json.loads(json.dumps(optical.model_dump(mode="json", by_alias=True), allow_nan=False))
    again = Lab.model_validate(sent)
    assert again == optical
    assert again.behaviour(again.links[0]) == optical.behaviour(optical.links[0])
    assert again.catalogue.profile("campus").power_w == 10


def test_a_length_and_a_delay_exclude_each_other_with_a_profile_too() -> None:
    with pytest.raises(TopologyError, match=r"links\[2\].delay: give a length or a delay, not both"):
        lab(OPTICS)


def test_a_transparent_profile_takes_the_rate_of_its_ends() -> None:
    text = OPTICS.replace("length: 1m, ", "").replace("profile: campus", "profile: ocs").replace(", ber: 1e-5", "")
    text = text.replace(", acceleration: 100", "").replace("length: 3km", "length: 300m")
    (first, *_) = lab(text).links
    assert (first.rate_bps, first.loss_process, first.carrier) == (10 * 10**9, None, True)


def test_ports_are_in_the_order_of_their_numbers() -> None:
    assert lab(LAYERS).ports["leaf"] == ("eth2", "eth9", "eth10")


def test_models_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        lab(LAYERS).name = "other"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("two-dd", 'no lab is called "two-dd"; did you mean "two-dc"'),
        ("two-dc:hots=4", 'no parameter "hots"; did you mean "hosts"'),
        ("two-dc:hosts=x", 'hosts must be a whole number, not "x"'),
        ("two-dc:hosts=0", "hosts must be between 1 and 1024, not 0"),
        ("two-dc:hosts", '"hosts" is not a parameter'),
        ("two-dc:hosts=1,hosts=2", "given twice"),
        ("two-dc:length=80kg", 'links.6..length: "80kg": "kg" is an impossible unit'),
        ("two-dc:name=A", "not a safe name"),
        ("clos:tiers=3,radix=5", "radix must be even"),
        ("three-leaves:hosts=1", "takes no parameters"),
        ("no/such.yaml", "No such file"),
    ],
)
def test_a_bad_name_or_parameter(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_lab(spec)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("[" * 5000, "nested deeper"),
        ("a: &a [*a]", "nested deeper"),
        ("name: x\n---\nname: y", "not YAML"),
        ("name: !!python/object:os.system x\ntopology: {}", "name: the tag .*os.system is not allowed"),
        ("name: x\ntopology: !mine {}", "topology: the tag !mine is not allowed"),
        ("just text", "must be a mapping"),
        ("- 1", "must be a mapping"),
    ],
)
def test_files_that_are_no_labs(text: str, message: str) -> None:
    with pytest.raises(TopologyError, match=message):
        lab(text)


def test_a_file_may_not_be_huge_nor_binary(tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(TopologyError, match="larger than"):
        load_lab(str(path))
    path.write_bytes(b"name: x\nb: \xff\n")
    with pytest.raises(TopologyError, match=r"lab\.yaml:2: not UTF-8"):
        load_lab(str(path))


def test_the_schema_names_every_key_as_written() -> None:
    schema = lab_schema()
    definitions = schema["$defs"]
    assert schema["additionalProperties"] is False and set(schema["required"]) == {"name", "topology"}
    assert {"lossy-queue", "buffer", "kind", "nic"} <= set(definitions["NodeEntry"]["properties"])
    assert definitions["LinkEntry"]["required"] == ["endpoints"]
    assert {"profile", "osnr-db", "lanes-down"} <= set(definitions["LinkEntry"]["properties"])
    assert "power-w" in schema["properties"]["profiles"]["additionalProperties"]["properties"]
