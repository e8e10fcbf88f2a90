// A hub that is made up: it answers what the page asks, of a network that tests can change.
//
// `node test/mock.mjs [PORT [HOSTS]]` serves it at 127.0.0.1, to look at the page while it is being written.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";

export const CSP =
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const RED = "e87f56dd-fd57-4921-9ab8-a0847662daae";
const BLUE = "ef502590-c5f4-437e-a81f-fe4083505075";
const GREEN = "3c1a6f0e-52f2-4a35-9d0c-6f5d1c0b9a77";

/** Numbers that look like chance and are the same each time. */
function numbers(seed) {
  let state = seed;
  return () => {
    state = (state * 1664525 + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

const places = ["ams", "fra", "lon", "par", "mad", "osl", "vie", "waw", "rom", "zrh"];
const kinds = ["gw", "edge", "db", "build", "cam", "pos", "nas"];

export class Network {
  constructor(count = 26, { user, password } = {}) {
    this.user = user;
    this.password = password;
    this.started = Math.floor(Date.now() / 1000) - 3 * 86400 - 4400;
    this.version = "0.1.0";
    this.pid = 4211;
    this.role = "admin";
    this.sampling = false;
    this.samples = [];
    this.asked = [];
    this.events = [];
    this.nextEvent = 1;
    this.readers = new Set();
    this.random = numbers(7);
    this.hosts = Array.from({ length: count }, (_, at) => this.host(at));
    this.flows = [];
    this.mix();
    this.problems = [
      {
        level: "error",
        what: "source fails for 4 min: connection refused",
        where: "router main, redis 127.0.0.1:6379",
        remedy: "Start redis, or correct the address; the last good rows stay in force meanwhile.",
      },
      {
        level: "warning",
        what: "tls [::]:8443: its certificate ends in 5 days",
        where: "hub",
        remedy: "Make another with `rtun gen cert --dir certs --hub hub.example --force`; the hub takes it without a restart.",
      },
    ];
    this.reasons = [
      {
        service: "hub",
        reason: "no_gateway_connected",
        packets: 4183,
        last: this.now() - 2,
        help: "The route names a host that is not connected. Start that host, or compare the name it reports with the one in the route.",
      },
      {
        service: "hub",
        reason: "src_not_allowed",
        packets: 912,
        last: this.now() - 41,
        help: "The source is not routed to the sending host. Add a route for its network, or look for spoofing.",
      },
      {
        service: "hub",
        reason: "queue_codel",
        packets: 377,
        last: this.now() - 7,
        help: "A flow's standing queue was shortened to keep its delay low. Normal under load.",
      },
      {
        service: "hub",
        reason: "no_route",
        packets: 58,
        last: this.now() - 5400,
        help: "No prefix of the table contains the destination. Add a route to the host that has it.",
      },
    ];
    for (const [at, kind, host, text] of [
      [0, "service", null, "hub listens on [::]:8443 (tls)"],
      [0, "reload", null, "configuration read again: 3 routes added"],
      [3, "host_joined", "fra-edge-3", "from 203.0.113.24:41822 (quic)"],
      [5, "host_left", "lon-cam-4", "ping_timeout after 2 h 11 min"],
      [6, "problem", null, "source redis 127.0.0.1:6379 fails: connection refused"],
      [8, "host_joined", "osl-gw-6", "from 198.51.100.7:50112 (tls)"],
    ]) {
      this.emit(kind, { host, text, time: this.now() - 600 + at * 70 });
    }
  }

  now() {
    return Date.now() / 1000;
  }

  host(at, name) {
    const r = this.random;
    const namespace = at % 5 === 4 ? BLUE : at % 7 === 6 ? GREEN : RED;
    const busy = r() ** 3;
    const traffic = (share) => ({ packets: Math.round(share * 9e3), bytes: Math.round(share * 1.1e7) });
    const total = (share) => ({ packets: Math.round(share * 8e8), bytes: Math.round(share * 9.4e11) });
    return {
      service: "hub",
      namespace,
      host: name ?? `${places[at % places.length]}-${kinds[at % kinds.length]}-${at}`,
      peer: `203.0.113.${at % 250}:${40000 + (at % 20000)}`,
      transport: ["tls", "quic", "wss", "tcp"][at % 4],
      connected: 40 + Math.floor(r() * 250000),
      carries: true,
      software: at % 6 === 5 ? null : "rtun 0.1.0",
      mtu: at % 6 === 5 ? null : 1400,
      gso_frames: at % 6 !== 5,
      datagrams: at % 4 === 1,
      in: total(busy),
      out: total(busy * 0.7),
      rate: { in: traffic(at % 9 === 8 ? 0 : busy), out: traffic(at % 9 === 8 ? 0 : busy * 0.7) },
      drops: at % 4 === 0 ? { queue_codel: Math.floor(r() * 90), src_not_allowed: at % 8 === 0 ? 31 : 0 } : {},
      queued: at % 5 === 0 ? { packets: 14, bytes: Math.floor(r() * 20000) } : { packets: 0, bytes: 0 },
      round_trip: at % 6 === 5 ? null : 0.002 + r() * 0.06,
      limits: at % 3 === 0 ? [{ limiter: "handler.limiter", scope: "host", in: 12500000, out: null }] : [],
    };
  }

  /** New pairs that talk, among the first hosts. */
  mix() {
    const r = this.random;
    const flows = new Map();
    const some = this.hosts.slice(0, 120);
    for (let at = 0; at < Math.min(500, some.length * 2); at += 1) {
      const from = some[Math.floor(r() * some.length)];
      const others = some.filter((host) => host.namespace === from.namespace && host !== from);
      if (others.length === 0 || from.rate.in.bytes === 0) continue;
      const to = others[Math.floor(r() ** 2 * others.length)];
      const bytes = Math.round(r() ** 3 * 1.2e7) + 900;
      flows.set(`${from.host} ${to.host}`, {
        service: "hub",
        namespace: from.namespace,
        from: from.host,
        to: to.host,
        rate: { packets: Math.ceil(bytes / 1200), bytes },
        packets: 1000000,
        bytes: bytes * 9000,
      });
    }
    this.flows = [...flows.values()].sort((a, b) => b.rate.bytes - a.rate.bytes);
  }

  leave(name) {
    this.hosts = this.hosts.filter((host) => host.host !== name);
    this.flows = this.flows.filter((flow) => flow.from !== name && flow.to !== name);
    this.emit("host_left", { host: name, text: "peer_closed" });
  }

  emit(kind, event) {
    const whole = { id: this.nextEvent, time: this.now(), kind, service: "hub", namespace: null, host: null, text: "", ...event };
    this.nextEvent += 1;
    this.events = [...this.events.slice(-999), whole];
    for (const reader of this.readers) reader.write(sse("event", whole, whole.id));
  }

  answer(path, query, body) {
    const total = (field) =>
      this.hosts.reduce((all, host) => ({ packets: all.packets + host.rate[field].packets, bytes: all.bytes + host.rate[field].bytes }), {
        packets: 0,
        bytes: 0,
      });
    switch (path) {
      case "/v1/overview":
        return {
          version: this.version,
          pid: this.pid,
          started: this.started,
          uptime: this.now() - this.started,
          role: this.role,
          services: [{ name: "hub", kind: "hub", summary: `${this.hosts.length} hosts` }],
          hosts: this.hosts.length,
          namespaces: 3,
          problems: this.problems.length,
          rate: { in: total("in"), out: total("out"), drops: 1.4 },
        };
      case "/v1/hosts": {
        const text = (query.get("search") ?? "").toLowerCase();
        const namespace = query.get("namespace") ?? "";
        const by =
          {
            name: (host) => host.host,
            age: (host) => host.connected,
            queue: (host) => host.queued.bytes,
            drops: (host) => Object.values(host.drops).reduce((a, b) => a + b, 0),
          }[query.get("sort")] ?? ((host) => host.rate.in.bytes + host.rate.out.bytes);
        const sign = query.get("order") === "desc" ? -1 : 1;
        const found = this.hosts
          .filter(
            (host) =>
              (namespace === "" || host.namespace === namespace) &&
              `${host.host} ${host.peer} ${host.namespace}`.toLowerCase().includes(text),
          )
          .sort((a, b) => (by(a) < by(b) ? -sign : by(a) > by(b) ? sign : 0));
        return paged(found, query);
      }
      case "/v1/namespaces":
        return paged(
          [RED, BLUE, GREEN].map((id) => {
            const hosts = this.hosts.filter((host) => host.namespace === id);
            const rate = (field) =>
              hosts.reduce(
                (all, host) => ({ packets: all.packets + host.rate[field].packets, bytes: all.bytes + host.rate[field].bytes }),
                { packets: 0, bytes: 0 },
              );
            return {
              service: "hub",
              id,
              configured: id !== GREEN,
              routes: hosts.length * 2,
              hosts: hosts.length,
              in: rate("in"),
              out: rate("out"),
              rate: { in: rate("in"), out: rate("out") },
              drops: { no_route: 3 },
            };
          }),
          query,
        );
      case "/v1/routes": {
        const routes = this.hosts.map((host, at) => ({
          service: "hub",
          namespace: host.namespace,
          prefix: `10.${at >> 8}.${at & 255}.0/24`,
          host: host.host,
          connected: at % 11 !== 10,
          origin: {
            list: "main",
            kind: at % 3 === 0 ? "file" : "inline",
            source: at % 3 === 0 ? "/etc/rtun/red.txt" : "hub.yaml",
            line: 12 + at,
          },
          packets: at % 7 === 6 ? 0 : host.out.packets,
          bytes: at % 7 === 6 ? 0 : host.out.bytes,
          last_used: at % 7 === 6 ? null : at % 5 === 4 ? this.now() - 200000 : this.now() - at,
        }));
        const text = query.get("search") ?? "";
        const isDead = (route) => !route.connected || route.last_used === null || this.now() - route.last_used > 86400;
        return paged(
          routes.filter((route) => `${route.prefix} ${route.host}`.includes(text) && (query.get("dead") !== "true" || isDead(route))),
          query,
        );
      }
      case "/v1/traffic":
        return { flows: this.flows.slice(0, 500), truncated: this.flows.length > 500 };
      case "/v1/drops":
        return { reasons: this.reasons, sampling: this.sampling, samples: this.samples };
      case "/v1/drops/sampling":
        if (this.role !== "admin") return { status: 403, error: "your user may only read" };
        this.sampling = body.enabled;
        this.samples = body.enabled
          ? [
              {
                time: this.now(),
                reason: "no_route",
                service: "hub",
                namespace: RED,
                host: "ams-gw-0",
                source: "10.0.0.4",
                destination: "172.16.9.9",
                protocol: "tcp",
                length: 60,
              },
            ]
          : [];
        return { sampling: this.sampling };
      case "/v1/problems":
        return { problems: this.problems };
      case "/v1/series": {
        const length = 360;
        const wave = (height, phase) =>
          Array.from({ length }, (_, at) =>
            at < 20
              ? null
              : Math.round(height * (1.4 + Math.sin(at / 31 + phase) + 0.4 * Math.sin(at / 7 + phase) + 0.05 * Math.sin(at * 1.7))),
          );
        const drops = Array.from({ length }, (_, at) =>
          at < 20 ? null : at > 210 && at < 228 ? 40 + 9 * Math.sin(at) : at % 17 === 0 ? 3 : 0.4,
        );
        return {
          step: 10,
          end: Math.floor(this.now() / 10) * 10,
          series: { in_bytes: wave(3.1e7, 1.2), out_bytes: wave(4.2e7, 1), drops },
        };
      }
      case "/v1/explain": {
        const [source, destination] = [query.get("source"), query.get("destination")];
        if (!/^[0-9.]+$/.test(source)) return { status: 400, error: `${source}: not an address` };
        return explanation(source, destination);
      }
      case "/v1/join": {
        const [host, addresses] = [query.get("host"), query.get("addresses")];
        const odd = addresses.split(",").find((one) => !one.includes("/"));
        if (odd !== undefined) return { status: 400, error: `\`${odd}\` is no address with its prefix length, as in 192.168.123.3/24` };
        return joining(host, addresses);
      }
      default:
        return { status: 404, error: `there is no ${path}` };
    }
  }
}

function joining(host, addresses) {
  const fingerprint = "9f2c1c0f5e8a44d1b0f7aa1dd2c3e4f5061728394a5b6c7d8e9fa0b1c2d3e4f5";
  const address = "hub.example:8443";
  const missing = addresses.split(",").map((one) => ({
    list: "routers",
    name: "main",
    line: `- {dst: ${one.replace(/\/.*/, "")}/32, gateway: "${host}"}`,
    because: `packets to ${one.replace(/\/.*/, "")} do not go to ${host}`,
  }));
  return {
    service: "hub",
    host,
    namespace: "00000000-0000-0000-0000-000000000000",
    transport: "tls",
    address,
    fingerprint,
    command: `rtun -L 'tun:///${host}?net=${addresses}' -F 'router+tls://USER:PASSWORD@${address}?fingerprint=${fingerprint}'`,
    file: `services:\n- name: host\n  forwarder:\n    nodes:\n    - {name: host, addr: "${host}"}\n`,
    missing,
    notes: ["Write the user and the password of this host in the place of USER and PASSWORD."],
  };
}

function explanation(source, destination) {
  const row = (prefix, gateway, line) => ({ prefix, gateway, origin: "file", source: "hub.yaml", line });
  const connected = {
    state: "connected",
    connections: [{ peer: "203.0.113.9:50112", transport: "tls", seconds: 5400, queued_packets: 0, queued_bytes: 0, standing_by: false }],
  };
  const isKnown = destination.startsWith("192.168.");
  return {
    status: isKnown ? 0 : 1,
    live: true,
    hubs: [
      {
        service: "hub",
        namespace: RED,
        source_check: "strict",
        routers: [
          { name: RED, is_default: false, is_plugin: false, not_read: [] },
          { name: "main", is_default: true, is_plugin: false, not_read: [] },
        ],
        sender: { host: "ams-gw-0", named: false, presence: connected },
        source: {
          address: source,
          special: null,
          router: RED,
          gateway: "ams-gw-0",
          row: row("192.168.123.1/32", "ams-gw-0", 21),
          asks: null,
          passed_over: [{ router: RED, ...row("192.168.0.0/16", "fra-edge-1", 23), because: "shorter_prefix" }],
          passed_over_more: 0,
        },
        destination: isKnown
          ? {
              address: destination,
              special: null,
              router: RED,
              gateway: "lon-db-2",
              row: row("192.168.200.0/24", "lon-db-2", 24),
              asks: null,
              passed_over: [{ router: RED, ...row("192.168.0.0/16", "fra-edge-1", 23), because: "shorter_prefix" }],
              passed_over_more: 0,
            }
          : {
              address: destination,
              special: null,
              router: null,
              gateway: null,
              row: null,
              asks: null,
              passed_over: [],
              passed_over_more: 0,
            },
        gateway: isKnown ? { host: "lon-db-2", presence: connected } : null,
        others: [],
        share_flows: false,
        copies: false,
        conclusion: isKnown ? { verdict: "delivered", to: "lon-db-2" } : { verdict: "dropped", reason: "no_route", help: "No prefix contains the destination. Add a route for the destination to the host that has it." },
        not_asked: [],
        limits: isKnown
          ? [{ host: "lon-db-2", direction: "to", limiter: "handler.limiter", scope: "host", bytes_per_second: 12500000 }]
          : [],
      },
    ],
  };
}

function paged(all, query) {
  const [page, per_page] = [Number(query.get("page") ?? 1), Math.min(500, Number(query.get("per_page") ?? 50))];
  return { total: all.length, page, per_page, items: all.slice((page - 1) * per_page, page * per_page) };
}

const sse = (name, data, id) => `${id === undefined ? "" : `id: ${id}\n`}event: ${name}\ndata: ${JSON.stringify(data)}\n\n`;

const types = { html: "text/html; charset=utf-8", js: "text/javascript", css: "text/css", svg: "image/svg+xml" };

/** Serves the network at 127.0.0.1, and answers with the port. `port` 0: any. */
export async function serve(network, port = 0) {
  const server = createServer((request, response) => void handle(network, request, response));
  await new Promise((resolve, reject) => server.once("error", reject).listen(port, "127.0.0.1", resolve));
  const sockets = new Set();
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  return {
    port: server.address().port,
    stop: () =>
      new Promise((resolve) => {
        server.close(resolve);
        for (const socket of sockets) socket.destroy();
      }),
  };
}

async function handle(network, request, response) {
  const url = new URL(request.url, "http://mock");
  const headers = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
  };
  const send = (status, type, body, more = {}) => response.writeHead(status, { ...headers, "Content-Type": type, ...more }).end(body);
  network.asked.push(url.pathname);
  const wanted = network.user === undefined ? undefined : `Basic ${Buffer.from(`${network.user}:${network.password}`).toString("base64")}`;
  if (wanted !== undefined && request.headers.authorization !== wanted) {
    return send(401, "application/json", '{"error":"who are you?"}', { "WWW-Authenticate": 'Basic realm="rtun"' });
  }
  if (url.pathname === "/v1/events") {
    response.writeHead(200, { ...headers, "Content-Type": "text/event-stream" });
    const since = Number(url.searchParams.get("since") ?? 0);
    for (const event of network.events) if (event.id > since) response.write(sse("event", event, event.id));
    network.readers.add(response);
    response.once("close", () => network.readers.delete(response));
    return undefined;
  }
  if (url.pathname.startsWith("/v1/")) {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = chunks.length === 0 ? null : JSON.parse(Buffer.concat(chunks).toString());
    const answer = network.answer(url.pathname, url.searchParams, body);
    return send(
      answer.error === undefined ? 200 : answer.status,
      "application/json",
      JSON.stringify(answer.error === undefined ? answer : { error: answer.error }),
    );
  }
  const name = url.pathname === "/" ? "index.html" : /^\/page\/([a-z]+\.[a-z]+)$/.exec(url.pathname)?.[1];
  try {
    return send(200, types[name.split(".")[1]], await readFile(new URL(`../dist/${name}`, import.meta.url)));
  } catch {
    return send(404, "text/plain", "not here");
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [port, count] = [Number(process.argv[2] ?? 8088), Number(process.argv[3] ?? 26)];
  const network = new Network(count);
  await serve(network, port);
  console.log(`http://127.0.0.1:${port}/`);
}
