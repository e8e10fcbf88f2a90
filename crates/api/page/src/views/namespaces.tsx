// The namespaces, page by page.

import type { Namespace, Paged } from "../api";
import { bitRate, count, shortNamespace, sum } from "../format";
import { useAnswer } from "../live";
import { type Column, Empty, Pages, Panel, Table } from "../parts";
import { change, linkTo, type Place } from "../route";
import { PER_PAGE } from "./hosts";

const columns: Column<Namespace>[] = [
  {
    label: "Namespace",
    class: "title",
    cell: ({ id }) => (
      <span class="name-cell">
        <span class="name mono" title={id}>
          {shortNamespace(id) === "default" ? "default" : id}
        </span>
      </span>
    ),
  },
  { label: "Hub", cell: ({ service }) => service },
  { label: "Configured", class: "extra", cell: ({ configured }) => (configured ? "yes" : "by its hosts") },
  { label: "Hosts", numeric: true, cell: ({ id, hosts }) => <a href={linkTo("hosts", { namespace: id })}>{count(hosts)}</a> },
  { label: "Routes", numeric: true, cell: ({ id, routes }) => <a href={linkTo("routes", { namespace: id })}>{count(routes)}</a> },
  { label: "In", numeric: true, cell: ({ rate }) => bitRate(rate.in.bytes) },
  { label: "Out", numeric: true, cell: ({ rate }) => bitRate(rate.out.bytes) },
  { label: "Drops", numeric: true, cell: ({ drops }) => count(sum(drops)) },
];

export function NamespacesView({ place }: { place: Place }) {
  const page = Math.max(1, Number(place.parameters.get("page")) || 1);
  const { data, error } = useAnswer<Paged<Namespace>>("v1/namespaces", { page, per_page: PER_PAGE });
  return (
    <Panel title="All namespaces">
      {data === null || data.items.length === 0 ? (
        <Empty error={error}>{data === null ? "Asking…" : "There is no namespace yet."}</Empty>
      ) : (
        <Table caption="Namespaces" columns={columns} items={data.items} keyOf={({ service, id }) => `${service} ${id}`} />
      )}
      {data !== null && <Pages total={data.total} page={page} perPage={PER_PAGE} go={(to) => change({ page: to === 1 ? "" : to })} />}
    </Panel>
  );
}
