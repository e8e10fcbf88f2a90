// What happened, the latest first, as it happens.

import { useState } from "preact/hooks";
import { clock, count } from "../format";
import { type EventLine, events, MAX_EVENTS, useFollowed } from "../live";
import { Empty, Panel } from "../parts";

const words: Record<string, string> = {
  host_joined: "joined",
  host_left: "left",
  service: "service",
  reload: "reload",
  problem: "problem",
  log: "log",
};

const groups: Record<string, string[]> = {
  Everything: [],
  Hosts: ["host_joined", "host_left"],
  Problems: ["problem"],
  Configuration: ["service", "reload"],
  Log: ["log"],
};

export function EventsView() {
  const all = useFollowed(events);
  const [group, choose] = useState("Everything");
  const [held, hold] = useState<EventLine[] | null>(null);
  const kinds = groups[group] ?? [];
  const lines = (held ?? all).filter((line) => "missed" in line || kinds.length === 0 || kinds.includes(line.kind));
  return (
    <Panel
      title="The latest first"
      note={
        <>
          <label class="check">
            <span>Show</span>
            <select value={group} onChange={(input) => choose(input.currentTarget.value)}>
              {Object.keys(groups).map((name) => (
                <option key={name}>{name}</option>
              ))}
            </select>
          </label>
          <button type="button" aria-pressed={held !== null} onClick={() => hold(held === null ? all : null)}>
            {held === null ? "Hold" : "Go on"}
          </button>
        </>
      }
    >
      <div role="log" aria-live="polite" aria-label="Events">
        <EventList lines={lines} />
      </div>
      {all.length >= MAX_EVENTS && <p class="more">The latest {count(MAX_EVENTS)}; the log of the hub has all.</p>}
    </Panel>
  );
}

export function EventList({ lines }: { lines: EventLine[] }) {
  if (lines.length === 0) return <Empty>Nothing has happened yet.</Empty>;
  return (
    <ul class="events">
      {lines.map((line) =>
        "missed" in line ? (
          <li key={line.id} class="missed">
            {count(line.missed)} events are not shown: they came too fast.
          </li>
        ) : (
          <li key={line.id}>
            <time dateTime={new Date(line.time * 1000).toISOString()}>{clock(line.time)}</time>
            <span class={`tag kind-${line.kind in words ? line.kind : "log"}`}>{words[line.kind] ?? line.kind}</span>
            <span class="what">
              {line.host !== null && line.host !== undefined && <b>{line.host} </b>}
              {line.text}
            </span>
          </li>
        ),
      )}
    </ul>
  );
}
