// The live page: it reads labs from a broker, and shows the one that is chosen. It has one address, which its policy holds it to.

import "uplot/dist/uPlot.min.css";
import "../style.css";
import "./live.css";

import { button, h } from "../dom";
import * as format from "../format";
import { sectionElement } from "../section";
import { themes } from "../themes";
import { Connection, statusText, type Status } from "./connection";
import { topologyPart } from "./fabric";
import { logPart } from "./log";
import { labsPart, runPart, type Shown } from "./overview";
import { say, Tiles } from "./parts";
import { pausesPart } from "./pauses";
import { queuesPart } from "./queues";
import { Store, type Lab } from "./store";
import { Frames, Work, type Part } from "./work";

const TOPICS = ["testbed/agents/+/status", "testbed/+/topology", "testbed/+/state", "testbed/+/events"];
const TICK_MS = 100;
const READER = "reader";

/** Take user, password and lab out of the address of the page, and leave there what is no secret. */
function fragment(): { user: string; password: string; lab: string } {
  const given = new URLSearchParams(location.hash.slice(1));
  const found = { user: given.get("user") ?? READER, password: given.get("password") ?? "", lab: given.get("lab") ?? "" };
  if (found.password) {
    given.delete("password");
    history.replaceState(null, "", `${location.pathname}${location.search}#${given.toString()}`);
  }
  return found;
}

class Page {
  private readonly store = new Store();
  private readonly work = new Work();
  private readonly given = fragment();
  /** The address as people read it. */
  private readonly shown: string;
  private readonly connection: Connection;
  private readonly frames: Frames<Shown>;
  private readonly parts: Part<Shown>[];
  private readonly status = h("p", { class: "connection", role: "status" });
  private readonly form: HTMLFormElement;
  private lab: Lab | null = null;
  private wanted: string;

  constructor(address: string) {
    this.wanted = this.given.lab;
    this.shown = address.replace(/\/$/, "");
    this.connection = new Connection(address, (topic, payload) => this.receive(topic, payload), (status) => this.changed(status));
    this.connection.follow(TOPICS);
    this.parts = [labsPart((name) => this.choose(name)), runPart(), topologyPart(), pausesPart(), queuesPart(), logPart(), this.own()];
    this.frames = new Frames(this.parts, () => ({ store: this.store, lab: this.lab }), this.work);
    this.form = this.login();
  }

  show(): HTMLElement[] {
    this.changed({ is: "idle" });
    this.frames.all();
    window.setInterval(() => this.frames.request(), TICK_MS);
    if (this.given.password) this.connection.open(this.given.user, this.given.password);
    const links = this.parts.map(({ element }) => h("li", {}, h("a", { href: `#${element.id}` }, element.querySelector("h2")?.textContent ?? "")));
    return [
      h("a", { class: "skip", href: "#content" }, "Skip to the content"),
      h("header", {}, h("h1", {}, `Labs on ${this.shown.replace(/^wss?:\/\//, "")}`), h("div", { class: "buttons" }, this.holder(), themes()), this.status, h("nav", { "aria-label": "Sections" }, h("ul", {}, ...links))),
      h("main", { id: "content", tabindex: -1 }, this.form, ...this.parts.map((part) => part.element)),
    ];
  }

  private receive(topic: string, payload: Uint8Array): void {
    const began = performance.now();
    this.store.take(topic, payload, began);
    if (this.lab && this.store.labs.get(this.lab.name) !== this.lab) this.follow(this.store.labs.get(this.lab.name) ?? null);
    if (!this.lab) this.follow((this.wanted ? this.store.labs.get(this.wanted) : this.store.labs.values().next().value) ?? null);
    this.work.add(performance.now() - began);
    this.frames.request();
  }

  private choose(name: string): void {
    this.wanted = name;
    this.follow(this.store.labs.get(name) ?? null);
    this.frames.all();
  }

  /** Look at a lab: of it alone come figures of ports. */
  private follow(lab: Lab | null): void {
    if (lab === this.lab) return;
    if (lab && lab.name !== this.lab?.name) this.store.forget(lab.name);
    this.lab = lab;
    document.title = lab ? `${lab.name}, live` : "Labs, live";
    this.connection.follow(lab ? [...TOPICS, `testbed/${lab.name}/+/live`] : TOPICS);
  }

  private changed(status: Status): void {
    this.status.dataset["is"] = status.is;
    say(this.status, statusText(status, this.shown));
    if (status.is === "connected") this.store.begin();
    this.form.hidden = status.is === "connected" || status.is === "lost";
    if (status.is === "refused") this.form.querySelector<HTMLInputElement>("input[type=password]")?.focus();
  }

  private login(): HTMLFormElement {
    const user = h("input", { id: "user", name: "user", autocomplete: "username", value: this.given.user, required: true, maxlength: 200 });
    const password = h("input", { id: "password", name: "password", type: "password", autocomplete: "current-password", required: true, maxlength: 200 });
    const connect = (event: SubmitEvent): void => {
      event.preventDefault();
      this.connection.open(user.value, password.value);
      password.value = "";
    };
    return h("form", { class: "login", onsubmit: connect },
      h("p", {}, `Who reads labs on ${this.shown}? The password stays in this page and is sent to this broker alone.`),
      h("label", { for: "user" }, "User"), user, h("label", { for: "password" }, "Password"), password, h("button", { type: "submit" }, "Connect"));
  }

  /** Make the button that stops all that moves; messages are taken all the same. */
  private holder(): HTMLElement {
    const change = button("Hold", () => {
      const { frames } = this;
      frames.isHeld = !frames.isHeld;
      change.textContent = frames.isHeld ? "Go on" : "Hold";
      change.setAttribute("aria-pressed", String(frames.isHeld));
      if (!frames.isHeld) frames.all();
    }, { class: "hold", "aria-pressed": "false", title: "Stop what moves; messages are taken all the same" });
    return change;
  }

  /** Return the part on the page itself: what came, what is missing, and how long drawing takes. */
  private own(): Part<Shown> {
    const tiles = new Tiles();
    const section = sectionElement({ id: "page", title: "This page", body: [tiles.element] }, "");
    let [messages, at] = [0, 0];
    const draw = ({ store }: Shown, now: number): void => {
      const rate = at ? ((store.messages - messages) * 1000) / (now - at) : 0;
      [messages, at] = [store.messages, now];
      const { medianMs, longestMs, frames } = this.work;
      Object.assign(section.dataset, { messages: String(store.messages), frames: String(frames), medianMs: medianMs.toFixed(2), longestMs: longestMs.toFixed(2) });
      tiles.set([
        ["Messages", `${format.count(store.messages)}, ${format.digits(rate, 2)} a second`],
        ["Bytes", format.bytes(store.bytes)],
        ["Lost, by their numbers", format.count(store.missing)],
        ["Malformed", store.malformed ? `${format.count(store.malformed)}, the last: ${store.lastFault}` : "0"],
        ["Work in a frame", `${format.digits(medianMs, 2)} ms, at most ${format.digits(longestMs, 2)} ms`],
      ]);
    };
    return { element: section, everyMs: 1000, draw };
  }
}

function start(): void {
  const root = document.getElementById("report");
  try {
    const { address } = JSON.parse(document.getElementById("data")?.textContent ?? "") as { address: string };
    root?.replaceChildren(...new Page(address).show());
    document.documentElement.dataset["ready"] = "yes";
  } catch (fault) {
    root?.replaceChildren(h("p", { role: "alert" }, `This page cannot be shown: ${String(fault)}`));
    throw fault;
  }
}

start();
