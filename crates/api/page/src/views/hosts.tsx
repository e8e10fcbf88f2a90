// The connected hosts, page by page.

import type { Host, Paged } from "../api";
import { bitRate, bytes, count, duration, milliseconds, sum } from "../format";
import { useAnswer } from "../live";
import { type Column, Empty, Filter, NamespaceLink, Pages, Panel, Search, Table } from "../parts";
import { change, type Place } from "../route";

export const PER_PAGE = 50;

const columns: Column<Host>[] = [
  {
    label: "Host",
    sort: "name",
    class: "title",
    cell: (host) => (
      <span class="name-cell">
        <span class="name">{host.host}</span>
        {!host.carries && (
          <span class="tag" title="A newer connection of the same name carries the packets">
            standby
          </span>
        )}
      </span>
    ),
  },
  { label: "Namespace", class: "extra", cell: (host) => <NamespaceLink id={host.namespace} /> },
  { label: "Transport", cell: (host) => <span class="tag">{host.transport}</span> },
  { label: "From", class: "extra", cell: (host) => <span class="mono quiet">{host.peer}</span> },
  { label: "Age", sort: "age", numeric: true, cell: (host) => duration(host.connected) },
  { label: "Round trip", numeric: true, cell: (host) => milliseconds(host.round_trip) },
  { label: "In", numeric: true, cell: (host) => <Rate of={host.rate.in.bytes} /> },
  { label: "Out", sort: "traffic", numeric: true, cell: (host) => <Rate of={host.rate.out.bytes} /> },
  { label: "Queue", sort: "queue", numeric: true, cell: (host) => <Zero of={host.queued.bytes} as={bytes} /> },
  { label: "Drops", sort: "drops", numeric: true, cell: (host) => <Zero of={sum(host.drops)} as={count} /> },
];

export function HostsView({ place }: { place: Place }) {
  const { parameters } = place;
  const [search, namespace] = [parameters.get("search") ?? "", parameters.get("namespace") ?? ""];
  const by = parameters.get("sort") ?? "traffic";
  const descending = parameters.get("order") !== "asc";
  const page = Math.max(1, Number(parameters.get("page")) || 1);
  const { data, error } = useAnswer<Paged<Host>>("v1/hosts", {
    search,
    namespace,
    sort: by,
    order: descending ? "desc" : "asc",
    page,
    per_page: PER_PAGE,
  });
  return (
    <Panel
      title="Connected hosts"
      note={
        <>
          {namespace !== "" && <Filter label="namespace" value={namespace} remove={() => change({ namespace: "", page: "" })} />}
          <label class="check narrow-only">
            <span>Sort by</span>
            <select
              value={by}
              onChange={(input) =>
                change({ sort: input.currentTarget.value, order: input.currentTarget.value === "name" ? "asc" : "", page: "" })
              }
            >
              {columns.map((column) => column.sort !== undefined && <option value={column.sort}>{column.sort}</option>)}
            </select>
          </label>
          <Search label="Search by name or address" value={search} set={(text) => change({ search: text, page: "" })} />
        </>
      }
    >
      {data === null || data.items.length === 0 ? (
        <Empty error={error}>{data === null ? "Asking…" : search === "" ? "No host is connected." : `No host matches “${search}”.`}</Empty>
      ) : (
        <Table
          caption="Connected hosts"
          columns={columns}
          items={data.items}
          keyOf={(host) => `${host.host} from ${host.peer}`}
          sorting={{ by, descending, set: (sort, down) => change({ sort, order: down ? "" : "asc", page: "" }) }}
          detail={(host) => <Details host={host} />}
        />
      )}
      {data !== null && <Pages total={data.total} page={page} perPage={PER_PAGE} go={(to) => change({ page: to === 1 ? "" : to })} />}
    </Panel>
  );
}

function Rate({ of }: { of: number }) {
  return <Zero of={of} as={bitRate} />;
}

/** A number that stands back where it is 0. */
function Zero({ of, as }: { of: number; as: (value: number) => string }) {
  return of === 0 ? <span class="zero">0</span> : <>{as(of)}</>;
}

function Details({ host }: { host: Host }) {
  const drops = Object.entries(host.drops)
    .filter(([, packets]) => packets > 0)
    .sort(([, a], [, b]) => b - a);
  const facts: [string, string][] = [
    ["Namespace", host.namespace],
    ["Hub", host.service],
    ["Connected from", host.peer],
    ["Software", host.software ?? "not rtun, or too old to say"],
    ["MTU", host.mtu === null ? "not known" : `${host.mtu} bytes`],
    ["Packets of up to 64 KiB", host.gso_frames ? "yes" : "no"],
    ["Datagrams", host.datagrams ? "yes" : "no"],
    ["Received from it", `${count(host.in.packets)} packets, ${bytes(host.in.bytes)}`],
    ["Sent to it", `${count(host.out.packets)} packets, ${bytes(host.out.bytes)}`],
    ["Waiting for it", `${count(host.queued.packets)} packets, ${bytes(host.queued.bytes)}`],
    ["Drops", drops.length === 0 ? "none" : drops.map(([reason, packets]) => `${reason} ${count(packets)}`).join(", ")],
  ];
  for (const limit of host.limits.slice(0, 8)) {
    const rates = [limit.in === null ? null : `in ${bitRate(limit.in)}`, limit.out === null ? null : `out ${bitRate(limit.out)}`];
    facts.push([`Limit (${limit.scope})`, `${rates.filter((rate) => rate !== null).join(", ")} by ${limit.limiter}`]);
  }
  return (
    <dl class="facts">
      {facts.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}
