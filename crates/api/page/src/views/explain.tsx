// Why a packet goes where it goes: each step, with the line of the table.

import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import {
  ask,
  type Explained,
  type Gateway,
  type HubExplanation,
  type LocatedAddress,
  type Overview,
  type Presence,
  type TableRow,
} from "../api";
import { bitRate, bytes, count, duration } from "../format";
import { Panel } from "../parts";
import { change, type Place } from "../route";
import { Field, HubField } from "./field";

const fields = ["source", "destination", "from", "namespace", "service"] as const;

type Question = Record<(typeof fields)[number], string>;

/** Why a row that contains the address does not decide. */
const because: Record<string, string> = {
  shorter_prefix: "shorter prefix",
  lower_source: "its source comes later",
  listed_later: "listed later",
  stands_by: "stands by",
  away: "not connected",
  sends: "is the sender",
  shares_flows: "gets some of the flows",
  may_send_too: "may send from it too",
  router_not_asked: "this router was not asked",
};

export function ExplainView({ place, overview }: { place: Place; overview: Overview }) {
  const asked = Object.fromEntries(fields.map((name) => [name, place.parameters.get(name) ?? ""])) as Question;
  const [typed, type] = useState(asked);
  const [answer, set] = useState<{ explained?: Explained; error?: string } | null>(null);
  const query = place.parameters.toString();
  const result = useRef<HTMLDivElement>(null);

  useEffect(() => {
    type(asked);
    if (asked.source === "" || asked.destination === "") return set(null);
    let isCurrent = true;
    ask<Explained>("v1/explain", asked).then(
      (explained) => isCurrent && set({ explained }),
      (error: unknown) => isCurrent && set({ error: error instanceof Error ? error.message : String(error) }),
    );
    return () => void (isCurrent = false);
  }, [query]);

  const field = (name: keyof Question, label: string, example: string, required = false) => (
    <Field label={label} value={typed[name]} example={example} required={required} set={(value) => type({ ...typed, [name]: value })} />
  );
  return (
    <>
      <Panel title="Follow a packet">
        <form
          class="form"
          onSubmit={(event) => {
            event.preventDefault();
            const trimmed = Object.fromEntries(fields.map((name) => [name, typed[name].trim()])) as Question;
            const isSame = fields.every((name) => trimmed[name] === asked[name]);
            // The same question again counts too: the network may have changed.
            if (isSame) change({ ...trimmed, again: Date.now() });
            else change(trimmed);
          }}
        >
          {field("source", "Source address", "192.168.123.1", true)}
          {field("destination", "Destination address", "192.168.200.7", true)}
          {field("from", "Sending host", "by the source")}
          {field("namespace", "Namespace", "the only one")}
          <HubField overview={overview} value={typed.service} set={(service) => type({ ...typed, service })} />
          <button type="submit" class="primary">
            Explain
          </button>
        </form>
      </Panel>
      <div ref={result} aria-live="polite">
        {answer?.error !== undefined && (
          <p class="empty bad" role="alert">
            {answer.error}
          </p>
        )}
        {answer?.explained?.hubs.map((hub) => (
          <Steps key={hub.service} hub={hub} />
        ))}
        {answer === null && (
          <p class="empty">
            The hub decides as it would for a real packet, and names the line of the table behind each step. Nothing is sent.
          </p>
        )}
      </div>
    </>
  );
}

function Steps({ hub }: { hub: HubExplanation }) {
  const { conclusion, sender, gateway } = hub;
  const verdict =
    conclusion.verdict === "delivered"
      ? { tone: "good", text: `Delivered to ${conclusion.to}` }
      : conclusion.verdict === "copied"
        ? { tone: "good", text: `A copy delivered to each of ${conclusion.to.join(", ")}` }
        : conclusion.verdict === "dropped"
        ? { tone: "bad", text: `Dropped: ${conclusion.reason}` }
        : { tone: "warn", text: `Not decided: plugin ${conclusion.plugin} has to be asked about ${conclusion.address}` };
  return (
    <Panel title={`At ${hub.service}`} class="explained">
      <p class={`verdict ${verdict.tone}`}>
        <b>{verdict.text}</b>
        {conclusion.verdict === "dropped" && <span>{conclusion.help}</span>}
      </p>
      <ol class="steps">
        <Step title="Namespace">
          <span class="mono">{hub.namespace}</span>
          <small>
            {hub.routers
              .map((router) => `${router.is_default ? "default router" : "router"} ${router.name}${router.is_plugin ? " (plugin)" : ""}`)
              .join(", then ") || "without a router"}
            ; source check {hub.source_check}
          </small>
        </Step>
        {sender !== null && (
          <Step title="Sender" tone={toneOf(sender.presence)}>
            <b>{sender.host}</b> <State of={sender} />
            <small>{sender.named ? "as asked" : "the host that the source is behind"}</small>
          </Step>
        )}
        <Step title="Source" tone={sourceTone(hub)}>
          <Located at={hub.source} />
        </Step>
        <Step title="Destination" tone={hub.destination.gateway === null && hub.destination.asks === null ? "bad" : "good"}>
          <Located at={hub.destination} />
        </Step>
        {gateway !== null && (
          <Step title="Receiver" tone={toneOf(gateway.presence)}>
            <b>{gateway.host}</b> <State of={gateway} />
            {hub.others.slice(0, 32).map((other) => (
              <small key={other.host}>
                {hub.copies ? "and" : "or"} {other.host} <State of={other} />
                {hub.share_flows && ", gets some of the flows"}
              </small>
            ))}
          </Step>
        )}
        {hub.limits.map((limit) => (
          <Step key={`${limit.host} ${limit.direction} ${limit.limiter} ${limit.scope}`} title="Limit">
            {bitRate(limit.bytes_per_second)} {limit.direction} {limit.host}
            <small>
              {limit.limiter}, shared by the {limit.scope}
            </small>
          </Step>
        ))}
        {hub.not_asked.map((source) => (
          <Step key={source} title="Not asked" tone="warn">
            {source}
          </Step>
        ))}
      </ol>
    </Panel>
  );
}

function Step({ title, tone = "", children }: { title: string; tone?: string; children: ComponentChildren }) {
  return (
    <li class={tone}>
      <span class="step-title">{title}</span>
      <div>{children}</div>
    </li>
  );
}

function Located({ at }: { at: LocatedAddress }) {
  return (
    <>
      <span class="mono strong">{at.address}</span>{" "}
      {at.special !== null ? (
        <span>is {at.special.replaceAll("_", " ")} and never routed</span>
      ) : at.asks !== null ? (
        <span>has to be asked of plugin {at.asks}</span>
      ) : at.gateway === null ? (
        <span>is behind nobody: no route contains it</span>
      ) : (
        <span>
          is behind <b>{at.gateway}</b>
        </span>
      )}
      {at.row !== null && <Row row={at.row} />}
      {at.passed_over.map((row) => (
        <Row
          key={`${row.router} ${row.source} ${row.line} ${row.prefix} ${row.gateway}`}
          row={row}
          because={because[row.because] ?? row.because}
        />
      ))}
      {at.passed_over_more > 0 && <small>and {count(at.passed_over_more)} more rows that do not count</small>}
    </>
  );
}

function Row({ row, because }: { row: TableRow; because?: string }) {
  return (
    <div class={because === undefined ? "row" : "row passed"}>
      <span class="mono line">
        {row.source}:{row.line}
      </span>
      <span class="mono">
        {row.prefix} → {row.gateway}
      </span>
      {because !== undefined && <span class="why">passed over: {because}</span>}
    </div>
  );
}

function State({ of }: { of: Gateway }) {
  const { presence } = of;
  switch (presence.state) {
    case "connected": {
      const [first, ...more] = presence.connections;
      if (first === undefined) return <span>is connected</span>;
      return (
        <span>
          connected for {duration(first.seconds)} from <span class="mono">{first.peer}</span> ({first.transport}), queue{" "}
          {bytes(first.queued_bytes)}
          {more.length > 0 && `, ${more.length} standing by`}
        </span>
      );
    }
    case "not_connected":
      return <span>is not connected</span>;
    case "impossible":
      return <span>can never join: {presence.because}</span>;
    case "unknown":
      return <span>was not asked about</span>;
  }
}

const toneOf = (presence: Presence): string => (presence.state === "connected" ? "good" : presence.state === "unknown" ? "" : "bad");

function sourceTone({ source, conclusion }: HubExplanation): string {
  const isRefused = conclusion.verdict === "dropped" && conclusion.reason === "src_not_allowed";
  return isRefused ? "bad" : source.gateway === null ? "" : "good";
}
