"""Pictures of labs: where nodes stand, what is said of links, and that no text becomes markup."""

from __future__ import annotations

import itertools
import re
import subprocess
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from testbed.drawing.layout import HEIGHT, lay_out, layers, link_text
from testbed.drawing.page import page
from testbed.drawing.picture import svg
from testbed.drawing.text import dot, mermaid
from testbed.lab.endpoints import Endpoint
from testbed.lab.sites import sites
from testbed.lab.topology import Lab, lab_from, load_lab
from testbed.schema.source import Source

LABS = [
    "two-dc",
    "two-dc:hosts=9",
    "clos",
    "clos:leaves=16,hosts=8",
    "clos:tiers=3,radix=8",
    "ring:switches=7",
    "incast:senders=40",
    "dumbbell:hosts=6",
    "multi-dc:sites=5,shape=mesh",
    "dragonfly",
    "dragonfly:groups=5,routers=8,hosts=7",
    "rail",
    "super-node:domains=4,size=64,span=80km",
]
Run = Callable[..., subprocess.CompletedProcess[str]]
SVG = "http://www.w3.org/2000/svg"


class Elements(HTMLParser):
    """Every element of a page with its attributes; text and scripts are left out."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def of_class(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for _, attributes in self.elements if name in str(attributes.get("class", "")).split()]


def lab_of(nodes: dict[str, object], links: list[dict[str, object]], **rest: object) -> Lab:
    return lab_from(Source("test", {"name": "drawn", "topology": {"nodes": nodes, "links": links}, **rest}))


@pytest.mark.parametrize("spec", LABS)
def test_no_node_covers_another_and_all_are_in_the_picture(spec: str) -> None:
    lab = load_lab(spec)
    layout = lay_out(lab)
    assert list(layout.boxes) == [node.name for node in lab.nodes]
    boxes = list(layout.boxes.values())
    for box in boxes:
        assert box.x - box.width / 2 >= 0 and box.x + box.width / 2 <= layout.width
        assert box.y - HEIGHT / 2 >= 0 and box.y + HEIGHT / 2 <= layout.height
    for a, b in itertools.combinations(boxes, 2):
        assert abs(b.y - a.y) >= HEIGHT or abs(b.x - a.x) > (a.width + b.width) / 2


def test_switches_stand_above_hosts_by_their_distance_from_them() -> None:
    lab = load_lab("clos:tiers=3,radix=4")
    rank = layers(lab)
    assert {name.rstrip("0123456789"): layer for name, layer in rank.items()} == {
        "h": 0,
        "leaf": 1,
        "agg": 2,
        "core": 3,
    }
    boxes = lay_out(lab).boxes
    assert boxes["core1"].y < boxes["agg1"].y < boxes["leaf1"].y < boxes["h1"].y


def test_long_links_part_sites_and_short_ones_do_not() -> None:
    assert sites(load_lab("two-dc:hosts=1")) == {
        "a1": 0, "b1": 1, "leaf-a": 0, "leaf-b": 1, "border-a": 0, "border-b": 1,
    }  # fmt: skip
    assert set(sites(load_lab("two-dc:length=50m")).values()) == {0}
    # Where every link is long there are no sites.
    assert set(sites(load_lab("ring:length=20km")).values()) == {0}


def test_a_link_says_what_is_not_usual_about_it() -> None:
    nodes: dict[str, object] = {name: {"kind": "host"} for name in "abcdef"}
    links: list[dict[str, object]] = [
        {"endpoints": ["a:eth1", "b:eth1"], "rate": "400G", "length": "80km", "loss": [0.01, 0]},
        {"endpoints": ["c:eth1", "d:eth1"], "profile": "400g-zr", "length": "100km"},
        {"endpoints": ["e:eth1", "f:eth1"], "delay": "3us", "loss": 0.1, "flow-control": "none"},
    ]
    texts = [link_text(link) for link in lab_of(nodes, links).links]
    assert texts == ["400G 80km loss 0.01/0", "400g-zr 100km", "100G 3us loss 0.1 no flow control"]


@pytest.mark.parametrize("spec", LABS)
def test_the_page_has_every_node_and_link_and_fetches_nothing(spec: str) -> None:
    lab = load_lab(spec)
    text = page(lab, {})
    elements = Elements(text)
    assert sorted(str(node["data-node"]) for node in elements.of_class("node")) == sorted(n.name for n in lab.nodes)
    ends = [(link["data-a"], link["data-b"]) for link in elements.of_class("link")]
    assert ends == [(link.a.node, link.b.node) for link in lab.links]
    assert not [attributes for _, attributes in elements.elements if {"src", "href"} & attributes.keys()]
    assert "default-src 'none'" in text and not re.search(r"https?:|url\(|@import", text)
    assert "<!--" not in text and "[[" not in text.replace("[[]", "")


def test_texts_stay_texts_in_every_format() -> None:
    lab = load_lab("pair")
    nasty = '<script>alert(1)</script> "quoted" & `done` \\ #x'
    text = page(lab, {0: nasty})
    assert [tag for tag, _ in Elements(text).elements].count("script") == 1
    assert "&lt;script&gt;" in text
    assert '\\"quoted\\" & `done` \\\\ #x' in dot(lab, {0: nasty})
    drawn = mermaid(lab, {0: nasty})
    assert "#60;script#62;alert(1)#60;/script#62; #34;quoted#34; #38; #96;done#96; #92; #35;x" in drawn


# What mermaid looks for in quoted text too, or what would end it.
MARKUP = [
    '%%{init: {"theme": "dark"}}%%',
    "%% comment",
    "style:#x;",
    "classDef a:#f9f;",
    "$$x^2$$",
    "fa:fa-car",
    "a\nb",
    "\\n",
    "<br/>",
    "&amp; #35; #quot;",
    '"]',
    "`**bold**`",
    "@{ shape: x }",
    "\x1b[31m",
    "größer",
    "",
]


def of_mermaid(quoted: str) -> str:
    """Return what mermaid shows of a quoted text, in which nothing but entities may mean anything."""
    assert re.fullmatch(r'"(?:[\w ,./+()-]|#\d+;)+"', quoted, re.ASCII), quoted
    return re.sub(r"#(\d+);", lambda match: chr(int(match[1])), quoted[1:-1])


@pytest.mark.parametrize("text", MARKUP)
def test_no_text_means_anything_to_mermaid(text: str) -> None:
    lab = load_lab("pair")
    nodes = tuple(node.model_copy(update={"name": text}) if node.name == "a1" else node for node in lab.nodes)
    links = tuple(
        link.model_copy(update={"a": link.a._replace(node=text)}) if link.a.node == "a1" else link for link in lab.links
    )
    drawn = mermaid(lab.model_copy(update={"nodes": nodes, "links": links}), {0: text}).splitlines()
    shown = "".join(sign if sign.isprintable() else " " for sign in text)
    assert of_mermaid(drawn[1].strip().removeprefix("n0(").removesuffix(")")) == (shown or " ")
    edge = next(line for line in drawn if "-.-" in line)
    assert of_mermaid(edge.split("|")[1]) == f"eth1 100G 50m, {shown} eth1"


def test_any_name_that_a_lab_file_permits_can_be_drawn() -> None:
    names = ["end", "1a", "graph", "subgraph", "style", "default", "click", "o-x", "a--b", "x" * 63]
    nodes: dict[str, object] = {name: {"kind": "host"} for name in names}
    links: list[dict[str, object]] = [
        {"endpoints": [f"{a}:eth1", f"{b}:eth1"]} for a, b in zip(names[::2], names[1::2], strict=True)
    ]
    drawn = mermaid(lab_of(nodes, links), {})
    assert re.findall(r"^ +(n\d+\(.*\))$", drawn, re.MULTILINE) == [f'n{i}("{n}")' for i, n in enumerate(names)]
    ends = [(f"n{i}", f"n{i + 1}") for i in range(0, len(names), 2)]
    assert re.findall(r"^ +(n\d+) ---\|.*\| (n\d+)$", drawn, re.MULTILINE) == ends


def test_text_formats_name_ports_and_what_the_link_is() -> None:
    lab = load_lab("two-dc:hosts=1")
    drawn = dot(lab, {})
    assert '"border-a" -- "border-b" [label="100G 80km", taillabel="eth2", headlabel="eth2"]' in drawn
    assert drawn.count(" -- ") == len(lab.links) and drawn.count("subgraph cluster_") == 2
    chart = mermaid(lab, {4: "loss 1%"})
    assert chart.startswith("flowchart BT\n") and chart.count("|") == 2 * len(lab.links)
    assert '-.-|"eth2 100G 80km, loss 1#37; eth2"|' in chart


def test_a_picture_of_its_own_is_sound_xml_and_shows_every_node_link_and_kind() -> None:
    lab = load_lab("two-dc:hosts=3")
    root = ElementTree.fromstring(svg(lab, {0: "loss <1%> & more"}))
    left, top, width, height = map(float, root.attrib["viewBox"].split())
    classes = Counter(element.get("class", "").split(" ")[0] for element in root.iter())
    assert (classes["node"], classes["link"]) == (len(lab.nodes), len(lab.links))
    texts = [element for element in root.iter(f"{{{SVG}}}text") if element.get("class") == "legend"]
    assert {element.text for element in texts} == {"100G 50m × 8", "100G 80km × 1"}
    assert all(left < float(element.attrib["x"]) < left + width for element in texts)
    assert all(top < float(element.attrib["y"]) < top + height for element in texts)


def test_a_picture_of_its_own_fetches_nothing_and_takes_text_as_text() -> None:
    lab = load_lab("pair").model_copy(update={"name": "<script>\"'&"})
    root = ElementTree.fromstring(svg(lab, {}))
    assert root.attrib["aria-label"] == lab.name
    assert not {"script", "image", "use", "a"} & {element.tag.removeprefix(f"{{{SVG}}}") for element in root.iter()}
    assert "url(" not in svg(lab, {}) and "@import" not in svg(lab, {})


def test_the_command_writes_one_picture(call_testbed: Run, tmp_path: Path) -> None:
    assert call_testbed("graph", "-t", "pair", "--dot").stdout.startswith('graph "pair" {')
    done = call_testbed("graph", "-t", "pair", "--html", "-o", "pair.html")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "written: pair.html\n")
    assert (tmp_path / "pair.html").read_text().startswith("<!doctype html>")
    assert call_testbed("graph", "-t", "pair", "--svg").stdout == svg(load_lab("pair"), {})
    for arguments, said in (
        (["-t", "pair"], "--dot, --mermaid, --html and --svg"),
        (["-t", "pair", "--dot", "--html"], "one of"),
        (["--dot"], "-t"),
        (["-t", "pair", "--dot", "-o", "no/such/place"], "No such file"),
    ):
        refused = call_testbed("graph", *arguments)
        assert (refused.returncode, said in refused.stderr) == (2, True), refused.stderr


def test_domains_are_frames_around_their_servers_and_rails_have_colours() -> None:
    lab = load_lab("super-node:domains=3,size=8,accelerators=4")
    layout = lay_out(lab)
    assert layout.boxes["rail1"].y < layout.boxes["d1-s1"].y < layout.boxes["d1-up"].y
    root = ElementTree.fromstring(svg(lab, {}))
    frames = [element for element in root.iter(f"{{{SVG}}}rect") if element.get("class") == "domain"]
    names = [element.text for element in root.iter(f"{{{SVG}}}text") if element.get("class") == "domain"]
    assert names == ["domain d1", "domain d2", "domain d3"]
    for name, frame in zip(("d1", "d2", "d3"), frames, strict=True):
        x, y, width, height = (float(frame.attrib[key]) for key in ("x", "y", "width", "height"))
        inside = {node for node, box in layout.boxes.items() if x < box.x < x + width and y < box.y < y + height}
        assert inside == {f"{name}-s1", f"{name}-s2", f"{name}-up"}
    colours: dict[str, set[str]] = {}
    for link in (element for element in root.iter(f"{{{SVG}}}g") if element.get("class") == "link"):
        if (leaf := link.attrib["data-b"]).startswith("rail") and link.attrib["data-a"].startswith("d"):
            colours.setdefault(leaf, set()).add(link[-1].attrib["stroke"])
    assert [len(rails) for rails in colours.values()] == [1] * 4 and len(set.union(*colours.values())) == 4
    # A port each along the edge of a server: no two links of a server end at one place.
    ends = [layout.end(Endpoint("d1-s1", f"eth{number}")) for number in range(1, 5)]
    assert ends == sorted(set(ends)) and all(abs(end - layout.boxes["d1-s1"].x) < 60 for end in ends)
    drawn, chart = dot(lab, {}), mermaid(lab, {})
    assert drawn.count("subgraph cluster_") == 3 and 'label="domain d2"' in drawn
    assert chart.count("subgraph d") == 3 and '["domain d3"]' in chart
    assert drawn.count("{") == drawn.count("}") and chart.count("subgraph") == chart.count("  end")
