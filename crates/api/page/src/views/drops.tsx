// Packets that went nowhere, by reason, and what to do; on demand some of these packets.

import { useState } from "preact/hooks";
import { ask, type DropReason, type Drops, type DropSample, type Overview } from "../api";
import { clock, count, duration } from "../format";
import { hubNow, useAnswer } from "../live";
import { linkTo } from "../route";
import { type Column, Empty, Panel, Table } from "../parts";

/** Seconds for which packets are kept once that is asked for. */
const SAMPLING = 300;

/** The most packets that are listed. */
const MAX_SAMPLES = 200;

const reasons: Column<DropReason>[] = [
  { label: "Reason", class: "title", cell: ({ reason }) => <span class="mono strong">{reason}</span> },
  { label: "Means, and what to do", class: "help", cell: ({ help }) => help },
  { label: "Last", numeric: true, cell: ({ last }) => (last === null ? "–" : `${duration(hubNow() - last)} ago`) },
  { label: "Packets", numeric: true, cell: ({ packets }) => count(packets) },
];

const samples: Column<DropSample>[] = [
  { label: "Time", class: "title", cell: ({ time }) => clock(time) },
  { label: "Reason", cell: ({ reason }) => <span class="mono">{reason}</span> },
  { label: "From host", cell: ({ host }) => host ?? "–" },
  { label: "Source", cell: ({ source }) => <span class="mono">{source ?? "–"}</span> },
  { label: "Destination", cell: ({ destination }) => <span class="mono">{destination ?? "–"}</span> },
  { label: "Protocol", class: "extra", cell: ({ protocol }) => protocol ?? "–" },
  { label: "Bytes", numeric: true, class: "extra", cell: ({ length }) => count(length) },
  {
    label: "Why",
    cell: ({ source, destination, host, namespace, service }) =>
      source !== null &&
      destination !== null && <a href={linkTo("explain", { source, destination, from: host, namespace, service })}>Explain</a>,
  },
];

export function DropsView({ overview }: { overview: Overview }) {
  const { data, error } = useAnswer<Drops>("v1/drops");
  const [refused, refuse] = useState<string | null>(null);
  const sample = async (enabled: boolean): Promise<void> => {
    try {
      await ask("v1/drops/sampling", {}, enabled ? { enabled, for: SAMPLING } : { enabled });
      refuse(null);
    } catch (error) {
      refuse(error instanceof Error ? error.message : String(error));
    }
  };
  const list = [...(data?.reasons ?? [])].sort((a, b) => b.packets - a.packets);
  return (
    <>
      <Panel title="By reason">
        {list.length === 0 ? (
          <Empty error={error}>{data === null ? "Asking…" : "No packet was dropped so far."}</Empty>
        ) : (
          <Table caption="Drops by reason" columns={reasons} items={list} keyOf={({ service, reason }) => `${service} ${reason}`} />
        )}
      </Panel>
      <Panel
        title="Some of these packets"
        note={
          overview.role === "admin" && data !== null ? (
            <button type="button" onClick={() => void sample(!data.sampling)}>
              {data.sampling ? "Stop keeping packets" : `Keep packets for ${duration(SAMPLING)}`}
            </button>
          ) : undefined
        }
      >
        {refused !== null && (
          <p class="empty bad" role="alert">
            {refused}
          </p>
        )}
        {data !== null && data.samples.length > 0 ? (
          <Table
            caption="Dropped packets"
            columns={samples}
            items={data.samples.slice(-MAX_SAMPLES).reverse()}
            keyOf={({ time, reason, source, destination, length }) => `${time} ${reason} ${source} ${destination} ${length}`}
          />
        ) : (
          <Empty>
            {data?.sampling
              ? "Waiting for a packet to be dropped."
              : "The hub keeps no packets now. Where it does, the last of each reason are shown: addresses only, no content."}
          </Empty>
        )}
      </Panel>
    </>
  );
}
