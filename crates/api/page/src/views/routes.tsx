// The routes: where each is written, and when it last carried something.

import type { Origin, Paged, Route } from "../api";
import { bytes, clock, count, duration } from "../format";
import { hubNow, useAnswer } from "../live";
import { type Column, Empty, Filter, NamespaceLink, Pages, Panel, Search, Table } from "../parts";
import { change, type Place } from "../route";
import { PER_PAGE } from "./hosts";

/** A route that carried nothing for so long is dead, as the hub counts it too. */
const UNUSED_FOR = 24 * 60 * 60;

const columns: Column<Route>[] = [
  {
    label: "Prefix",
    class: "title",
    cell: ({ prefix }) => <span class="mono strong">{prefix}</span>,
  },
  {
    label: "Host",
    cell: ({ host, connected }) => (
      <span class="name-cell">
        <span class={`state ${connected ? "good" : "off"}`} aria-hidden="true" />
        <span class="name">{host}</span>
        <span class="unseen">{connected ? "connected" : "not connected"}</span>
      </span>
    ),
  },
  { label: "Namespace", class: "extra", cell: ({ namespace }) => <NamespaceLink id={namespace} /> },
  { label: "Written in", cell: ({ origin }) => <WrittenIn origin={origin} /> },
  { label: "Packets", numeric: true, class: "extra", cell: ({ packets }) => count(packets) },
  { label: "Carried", numeric: true, cell: (route) => bytes(route.bytes) },
  { label: "Last used", numeric: true, cell: (route) => <LastUsed route={route} /> },
];

export function RoutesView({ place }: { place: Place }) {
  const { parameters } = place;
  const [search, namespace] = [parameters.get("search") ?? "", parameters.get("namespace") ?? ""];
  const dead = parameters.get("dead") === "true";
  const page = Math.max(1, Number(parameters.get("page")) || 1);
  const { data, error } = useAnswer<Paged<Route>>("v1/routes", { search, namespace, dead, page, per_page: PER_PAGE });
  return (
    <Panel
      title={dead ? "Dead routes" : "All routes"}
      note={
        <>
          {namespace !== "" && <Filter label="namespace" value={namespace} remove={() => change({ namespace: "", page: "" })} />}
          <label class="check">
            <input type="checkbox" checked={dead} onChange={(input) => change({ dead: input.currentTarget.checked, page: "" })} />
            Dead only
          </label>
          <Search label="Search by prefix or host" value={search} set={(text) => change({ search: text, page: "" })} />
        </>
      }
    >
      {data === null || data.items.length === 0 ? (
        <Empty error={error}>{data === null ? "Asking…" : dead ? "No route is dead." : "No route matches."}</Empty>
      ) : (
        <Table
          caption="Routes"
          columns={columns}
          items={data.items}
          keyOf={({ service, namespace, prefix, host, origin }) => `${service} ${namespace} ${prefix} ${host} ${written(origin)}`}
        />
      )}
      {data !== null && <Pages total={data.total} page={page} perPage={PER_PAGE} go={(to) => change({ page: to === 1 ? "" : to })} />}
    </Panel>
  );
}

/** As `hub.yaml:12`. */
export function written(origin: Origin | null): string {
  if (origin === null) return "–";
  const list = origin.source ?? origin.list ?? "";
  return origin.line ? `${list}:${origin.line}` : list === "" ? "–" : list;
}

/** The file without its folder. */
function WrittenIn({ origin }: { origin: Origin | null }) {
  const whole = written(origin);
  return (
    <span class="mono quiet" title={whole}>
      {/^[/.]/.test(whole) ? whole.slice(whole.lastIndexOf("/") + 1) : whole}
    </span>
  );
}

function LastUsed({ route }: { route: Route }) {
  const { connected, last_used: last } = route;
  const ago = last === null ? null : hubNow() - last;
  const when = ago === null ? "never" : `${duration(ago)} ago`;
  const why = !connected ? "host away" : ago === null ? "never used" : ago > UNUSED_FOR ? "unused" : null;
  return (
    <span class="name-cell end" title={last === null ? "Not since the hub started" : clock(last)}>
      {why !== null && <span class="tag dead">{why}</span>}
      {!(connected && ago === null) && <span>{when}</span>}
    </span>
  );
}
