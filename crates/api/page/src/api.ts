// What the hub's API answers, and how it is asked.

export interface Traffic {
  packets: number;
  bytes: number;
}

export interface Rate {
  in: Traffic;
  out: Traffic;
}

export interface Service {
  name: string;
  kind: string;
  summary: string;
}

export interface Overview {
  version: string;
  pid: number;
  started: number;
  uptime: number;
  role: "admin" | "reader";
  services: Service[];
  hosts: number;
  namespaces: number;
  problems: number;
  rate: Rate & { drops: number };
}

export interface Paged<T> {
  total: number;
  page: number;
  per_page: number;
  items: T[];
}

export interface Limit {
  limiter: string;
  scope: string;
  in: number | null;
  out: number | null;
}

export interface Host extends Rate {
  service: string;
  namespace: string;
  host: string;
  peer: string;
  transport: string;
  connected: number;
  carries: boolean;
  software: string | null;
  mtu: number | null;
  gso_frames: boolean;
  datagrams: boolean;
  rate: Rate;
  drops: Record<string, number>;
  queued: Traffic;
  round_trip: number | null;
  limits: Limit[];
}

export interface Namespace extends Rate {
  service: string;
  id: string;
  configured: boolean;
  routes: number;
  hosts: number;
  rate: Rate;
  drops: Record<string, number> | number;
}

export interface Route {
  service: string;
  namespace: string;
  prefix: string;
  host: string;
  connected: boolean;
  origin: Origin | null;
  packets: number;
  bytes: number;
  last_used: number | null;
}

/** Where a row of a table is written. */
export interface Origin {
  list?: string;
  source?: string;
  line?: number | null;
}

export interface Flow {
  service: string;
  namespace: string;
  from: string;
  /** Null: others than those that are counted one by one. */
  to: string | null;
  rate: Traffic;
  packets: number;
  bytes: number;
}

export interface Flows {
  flows: Flow[];
  truncated: boolean;
}

export interface DropReason {
  service: string;
  reason: string;
  packets: number;
  last: number | null;
  help: string;
}

export interface DropSample {
  time: number;
  reason: string;
  service: string;
  namespace: string | null;
  host: string | null;
  source: string | null;
  destination: string | null;
  protocol: string | number | null;
  length: number;
}

export interface Drops {
  reasons: DropReason[];
  sampling: boolean;
  samples: DropSample[];
}

export interface Problem {
  level: "error" | "warning";
  what: string;
  where: string;
  remedy: string;
}

/** What a host needs to join. */
export interface Join {
  command: string;
  file: string;
  fingerprint: string | null;
  /** What the lists of the hub lack. */
  missing: { list: string; name: string; line: string | null; because: string }[];
  notes: string[];
}

export interface HubEvent {
  id: number;
  time: number;
  kind: string;
  service: string | null;
  namespace: string | null;
  host: string | null;
  text: string;
}

export interface Series {
  step: number;
  end: number;
  series: Record<string, (number | null)[]>;
}

export type Presence =
  | { state: "unknown" }
  | { state: "impossible"; because: string }
  | { state: "not_connected" }
  | { state: "connected"; connections: Connection[] };

export interface Connection {
  peer: string;
  transport: string;
  seconds: number;
  queued_packets: number;
  queued_bytes: number;
  standing_by: boolean;
}

export interface Gateway {
  host: string;
  presence: Presence;
}

export interface TableRow {
  prefix: string;
  gateway: string;
  origin: string;
  source: string;
  line: number;
}

export interface LocatedAddress {
  address: string;
  special: string | null;
  router: string | null;
  gateway: string | null;
  row: TableRow | null;
  asks: string | null;
  passed_over: (TableRow & { router: string; because: string })[];
  passed_over_more: number;
}

export type Conclusion =
  | { verdict: "delivered"; to: string }
  | { verdict: "copied"; to: string[] }
  | { verdict: "dropped"; reason: string; help: string }
  | { verdict: "asks"; plugin: string; address: string };

export interface HubExplanation {
  service: string;
  namespace: string;
  source_check: string;
  routers: { name: string; is_default: boolean; is_plugin: boolean }[];
  sender: (Gateway & { named: boolean }) | null;
  source: LocatedAddress;
  destination: LocatedAddress;
  gateway: Gateway | null;
  others: Gateway[];
  share_flows: boolean;
  copies: boolean;
  conclusion: Conclusion;
  not_asked: string[];
  limits: { host: string; direction: "from" | "to"; limiter: string; scope: string; bytes_per_second: number }[];
}

export interface Explained {
  live: boolean;
  hubs: HubExplanation[];
}

/** The hub answered, but not with what was asked for. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

/** How long an answer may take, in milliseconds. */
const TIMEOUT = 10_000;

export type Query = Record<string, string | number | boolean | null | undefined>;

/** The path with those parameters that have a value. */
export function withQuery(path: string, query: Query = {}): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== "" && value !== null && value !== undefined && value !== false) {
      parameters.set(name, String(value));
    }
  }
  const text = parameters.toString();
  return text === "" ? path : `${path}?${text}`;
}

/**
 * Asks the hub, at a path beside the page. Throws `Refused` for an answer that is an error, anything else where there is none.
 */
export async function ask<T>(path: string, query?: Query, body?: unknown): Promise<T> {
  const answer = await fetch(withQuery(path, query), {
    method: body === undefined ? "GET" : "POST",
    headers: body === undefined ? {} : { "Content-Type": "application/json" },
    body: body === undefined ? null : JSON.stringify(body),
    credentials: "same-origin",
    cache: "no-store",
    signal: AbortSignal.timeout(TIMEOUT),
  });
  if (!answer.ok) {
    const said = (await answer.json().catch(() => null)) as { error?: unknown; msg?: unknown } | null;
    const sentence = said?.error ?? said?.msg;
    throw new Refused(answer.status, typeof sentence === "string" ? sentence : fallback(answer.status));
  }
  return (answer.status === 204 ? null : await answer.json()) as T;
}

function fallback(status: number): string {
  switch (status) {
    case 401:
      return "The hub wants a user name and a password. Load the page again to be asked for them.";
    case 403:
      return "Your user may only read.";
    default:
      return `The hub answered with status ${status}.`;
  }
}
