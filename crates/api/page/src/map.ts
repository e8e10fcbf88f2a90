// Where hubs, namespaces, hosts and what flows between them stand on the map.

import type { Flow, Host } from "./api";
import { shortNamespace, shorten } from "./format";

/** A host of the map, or those of a namespace that have no place on it. */
export interface Node {
  key: string;
  label: string;
  title: string;
  namespace: string;
  service: string;
  x: number;
  y: number;
  /** Radians from the top, with the clock. */
  angle: number;
  radius: number;
  /** Bytes a second, to and from it. */
  rate: number;
  host: Host | null;
}

export interface Edge {
  key: string;
  from: Node;
  to: Node;
  /** Bytes a second, both ways. */
  rate: number;
  /** From 0 to 1, by the busiest. */
  share: number;
  path: string;
}

export interface Arc {
  key: string;
  label: string;
  namespace: string;
  path: string;
  textPath: string;
}

export interface Plan {
  nodes: Node[];
  edges: Edge[];
  arcs: Arc[];
  hubs: { name: string; x: number; y: number }[];
  /** Connected hosts without a place. */
  rest: number;
  /** Half the width and height that it needs, names included. */
  extent: number;
}

/** The most lines that are drawn. */
const MAX_EDGES = 120;

const keyOf = (service: string, namespace: string, host: string): string => `${service} ${namespace} ${host}`;

/**
 * The hosts to show, at most `most`: the busiest. Those of `before` stay while they are nearly as busy, so that the map
 * stands still.
 */
export function choose(hosts: Host[], flows: Flow[], most: number, before: ReadonlySet<string>): Host[] {
  const rates = new Map<string, number>();
  for (const { service, namespace, from, to, rate } of flows) {
    for (const host of to === null ? [from] : [from, to]) {
      const key = keyOf(service, namespace, host);
      rates.set(key, (rates.get(key) ?? 0) + rate.bytes);
    }
  }
  const unique = [...new Map(hosts.map((host) => [keyOf(host.service, host.namespace, host.host), host])).entries()];
  const weight = ([key, host]: [string, Host]): number => {
    const own = Math.max(rates.get(key) ?? 0, host.rate.in.bytes + host.rate.out.bytes);
    return before.has(key) ? own * 2 + 1 : own;
  };
  return unique
    .sort((a, b) => weight(b) - weight(a) || (a[0] < b[0] ? -1 : 1))
    .slice(0, most)
    .map(([, host]) => host);
}

/** How large it is drawn. */
export interface Size {
  /** The radius of the circle that hosts stand on. */
  radius: number;
  /** The longest name, in characters. */
  name: number;
}

/** How far inside the circle the names of namespaces stand. */
const INSIDE = 17;

/** The width of a character of a name. */
const CHARACTER = 6.6;

/** Places `shown` on a circle, by namespace and name, around the hubs. */
export function plan(shown: Host[], flows: Flow[], connected: number, hubNames: string[], size: Size): Plan {
  const { radius } = size;
  const hubs = hubNames.map((name, at) => ({ name, x: (at - (hubNames.length - 1) / 2) * 84, y: 0 }));
  const groups = new Map<string, Host[]>();
  for (const host of [...shown].sort(byPlace)) {
    const key = `${host.service} ${host.namespace}`;
    groups.set(key, [...(groups.get(key) ?? []), host]);
  }
  const isOne = groups.size < 2;
  const gap = isOne ? 0 : 1;
  const slots = shown.length + groups.size * gap;
  const step = (2 * Math.PI) / Math.max(slots, 1);
  const fastest = Math.max(1, ...shown.map((host) => host.rate.in.bytes + host.rate.out.bytes));
  const nodes: Node[] = [];
  const arcs: Arc[] = [];
  let slot = 0;
  for (const [key, hosts] of groups) {
    const first = slot * step;
    for (const host of hosts) {
      const angle = slot * step + (isOne ? 0 : step / 2);
      const rate = host.rate.in.bytes + host.rate.out.bytes;
      nodes.push({
        key: keyOf(host.service, host.namespace, host.host),
        label: shorten(host.host, size.name),
        title: host.host,
        namespace: host.namespace,
        service: host.service,
        ...at(angle, radius),
        angle,
        radius: 3 + 4 * Math.sqrt(rate / fastest),
        rate,
        host,
      });
      slot += 1;
    }
    const last = slot * step;
    slot += gap;
    const middle = (first + last) / 2;
    const half = (CHARACTER * 9) / 2 / (radius - INSIDE);
    const namespace = hosts[0]?.namespace ?? "";
    arcs.push({
      key,
      label: isOne ? "" : shortNamespace(namespace),
      namespace,
      path: isOne ? circle(radius) : arc(first, last, radius, false),
      textPath: arc(middle - half, middle + half, radius - INSIDE, Math.cos(middle) < 0),
    });
  }
  const extent = radius + 20 + CHARACTER * Math.max(0, ...nodes.map((node) => node.label.length));
  return { nodes, edges: edges(nodes, flows, hubs), arcs, hubs, rest: Math.max(0, connected - nodes.length), extent };
}

function edges(nodes: Node[], flows: Flow[], hubs: Plan["hubs"]): Edge[] {
  const byKey = new Map(nodes.map((node) => [node.key, node]));
  const pairs = new Map<string, { from: Node; to: Node; rate: number }>();
  for (const { service, namespace, from, to, rate } of flows) {
    if (to === null) continue;
    const [a, b] = [byKey.get(keyOf(service, namespace, from)), byKey.get(keyOf(service, namespace, to))];
    if (a === undefined || b === undefined || a === b || rate.bytes <= 0) continue;
    const key = a.key < b.key ? `${a.key} ${b.key}` : `${b.key} ${a.key}`;
    const pair = pairs.get(key) ?? { from: a, to: b, rate: 0 };
    pair.rate += rate.bytes;
    pairs.set(key, pair);
  }
  // All pass through the hub; where there are many, so near that each can be followed.
  const away = nodes.length > 12 ? 0.22 : -0.3;
  const busiest = Math.max(1, ...[...pairs.values()].map((pair) => pair.rate));
  const drawn = [...pairs].sort(([, a], [, b]) => b.rate - a.rate).slice(0, MAX_EDGES);
  return drawn
    .map(([key, { from, to, rate }]) => {
      const hub = hubs.find((one) => one.name === from.service) ?? { x: 0, y: 0 };
      const [a, b] = [from, to].map((node) => `${round(node.x * away + hub.x * (1 - away))} ${round(node.y * away + hub.y * (1 - away))}`);
      const path = `M${round(from.x)} ${round(from.y)}C${a} ${b} ${round(to.x)} ${round(to.y)}`;
      return { key, from, to, rate, share: Math.sqrt(rate / busiest), path };
    })
    .reverse();
}

function byPlace(a: Host, b: Host): number {
  const [left, right] = [a, b].map((host) => `${host.service}\n${host.namespace}\n`);
  return left === right ? a.host.localeCompare(b.host, "en", { numeric: true }) : (left ?? "") < (right ?? "") ? -1 : 1;
}

const round = (value: number): number => Math.round(value * 10) / 10;

const at = (angle: number, radius: number): { x: number; y: number } => ({
  x: Math.sin(angle) * radius,
  y: -Math.cos(angle) * radius,
});

function circle(radius: number): string {
  return `M0 ${-radius}A${radius} ${radius} 0 1 1 0 ${radius}A${radius} ${radius} 0 1 1 0 ${-radius}`;
}

function arc(from: number, to: number, radius: number, backwards: boolean): string {
  const [a, b] = backwards ? [at(to, radius), at(from, radius)] : [at(from, radius), at(to, radius)];
  const large = to - from > Math.PI ? 1 : 0;
  return `M${round(a.x)} ${round(a.y)}A${radius} ${radius} 0 ${large} ${backwards ? 0 : 1} ${round(b.x)} ${round(b.y)}`;
}
