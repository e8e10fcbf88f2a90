// What a host needs to join a hub: its command line and its file.

export interface Listener {
  address: string;
  transport: string;
  certificate: { names: string[]; fingerprint: string } | null;
}

export interface Join {
  command: string;
  file: string;
  fingerprint: string | null;
  notes: string[];
}

/** The default namespace, which no host has to name. */
const DEFAULT = /^[0-]*$/;

/** For a URL between single quotes of a shell. */
const encoded = (text: string): string => encodeURIComponent(text).replaceAll("'", "%27");

/** What is wrong with a host's name or with its addresses, if anything. */
export function wrong(host: string, nets: string[]): string | null {
  if (!/^[!-~\u00a1-\uffff]{1,255}$/.test(host)) return "A host's name is up to 255 characters, without blanks.";
  const odd = nets.find((net) => !/^[0-9a-fA-F.:]+\/\d{1,3}$/.test(net));
  return odd === undefined ? null : `${odd} is no address with its prefix length, as in 192.168.123.3/24.`;
}

/** For a hub with these listeners, of which the page was asked for at `pageHost`. */
export function joining(listeners: Listener[], pageHost: string, host: string, nets: string[], namespace: string): Join | null {
  // The one that proves who it is, if there is one.
  const listener = listeners.find((one) => one.certificate !== null) ?? listeners[0];
  if (listener === undefined) return null;
  const { transport, certificate } = listener;
  const port = listener.address.slice(listener.address.lastIndexOf(":") + 1);
  const isLocal = /^(localhost|127\.|\[?::1)/.test(pageHost);
  const name = isLocal ? (certificate?.names[0] ?? "HUB") : pageHost;
  const [fingerprint, isDefault] = [certificate?.fingerprint ?? null, DEFAULT.test(namespace)];
  const parameters = [
    ...(fingerprint === null ? [] : [`fingerprint=${fingerprint}`]),
    ...(isDefault ? [] : [`router.id=${encoded(namespace)}`]),
  ];
  const query = parameters.length === 0 ? "" : `?${parameters.join("&")}`;
  const scheme = transport === "tcp" ? "router" : `router+${transport}`;
  const net = nets.join(",");
  const notes = [
    "Write the user and the password of this host in the place of USER and PASSWORD; leave them out where the hub has no users.",
  ];
  if (name === "HUB") notes.push("Write the name or the address under which the host reaches the hub in the place of HUB.");
  if (/ws|h2|grpc/.test(transport)) notes.push("If the hub's listener has a path, add it as path=.");
  if (fingerprint === null)
    notes.push("This way is neither encrypted nor proven: on networks that you do not trust have the hub listen with TLS.");
  notes.push(`The hub needs a route for each address of the host, with ${host} as its gateway.`);
  const text = JSON.stringify;
  const file = [
    "services:",
    "- name: host",
    "  handler: {type: tun, chain: hub}",
    "  listener:",
    "    type: tun",
    `    metadata: {net: ${text(net)}}`,
    "  forwarder:",
    "    nodes:",
    `    - {name: host, addr: ${text(host)}}`,
    "chains:",
    "- name: hub",
    "  hops:",
    "  - name: hub",
    "    nodes:",
    "    - name: hub",
    `      addr: ${text(`${name}:${port}`)}`,
    "      connector:",
    "        type: router",
    "        auth: {username: USER, password: PASSWORD}",
    ...(isDefault ? [] : [`        metadata: {router.id: ${text(namespace)}}`]),
    "      dialer:",
    `        type: ${transport}`,
    ...(fingerprint === null ? [] : [`        tls: {fingerprint: ${text(fingerprint)}}`]),
    "",
  ].join("\n");
  return {
    command: `rtun -L 'tun:///${encoded(host)}?net=${net}' -F '${scheme}://USER:PASSWORD@${name}:${port}${query}'`,
    file,
    fingerprint,
    notes,
  };
}
