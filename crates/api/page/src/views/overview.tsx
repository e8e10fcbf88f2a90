// The first view: problems, the map, the last hour, and the latest of everything else.

import type { Drops, Flow, Flows, Host, Overview, Paged, Problem, Series } from "../api";
import { Chart } from "../chart";
import { bitRate, compact, count, duration, perSecond } from "../format";
import { Icon } from "../icons";
import { events, useAnswer, useFollowed } from "../live";
import { Empty, Panel } from "../parts";
import { linkTo } from "../route";
import { EventList } from "./events";
import { TrafficMap } from "./traffic-map";

/** Hosts asked for: those with a place on the map, and some that may take one. */
const BUSIEST = 60;

const MAX_PROBLEMS = 20;

export function OverviewView({ overview }: { overview: Overview }) {
  const problems = useAnswer<{ problems: Problem[] }>("v1/problems");
  const flows = useAnswer<Flows>("v1/traffic");
  const hosts = useAnswer<Paged<Host>>("v1/hosts", { sort: "traffic", order: "desc", per_page: BUSIEST });
  const drops = useAnswer<Drops>("v1/drops");
  const latest = useFollowed(events);
  const [list, all] = [hosts.data?.items ?? [], flows.data ?? { flows: [], truncated: false }];
  const isHub = overview.services.some((service) => service.kind === "hub");
  return (
    <>
      <Problems problems={problems.data?.problems ?? null} />
      <Figures overview={overview} />
      {(overview.services.length > 1 || !isHub) && <Services overview={overview} />}
      <div class="columns">
        <Panel title="Traffic" note={all.truncated ? "the busiest pairs" : undefined} class="wide">
          <TrafficMap hosts={list} total={hosts.data?.total ?? overview.hosts} flows={all} overview={overview} />
        </Panel>
        <div class="stack">
          <LastHour />
          <Panel title="Who talks to whom" class="rest">
            <Talkers flows={all.flows} />
          </Panel>
        </div>
      </div>
      <div class="columns even">
        <Panel title="Packets that went nowhere" note={<a href={linkTo("drops")}>All reasons</a>}>
          <TopDrops drops={drops.data} />
        </Panel>
        <Panel title="Latest events" note={<a href={linkTo("events")}>All events</a>}>
          <EventList lines={latest.slice(0, 8)} />
        </Panel>
      </div>
    </>
  );
}

function Problems({ problems }: { problems: Problem[] | null }) {
  if (problems === null) return null;
  if (problems.length === 0) {
    return (
      <p class="all-well">
        <Icon name="check" /> No problems
      </p>
    );
  }
  const sorted = [...problems].sort((a, b) => (a.level === b.level ? 0 : a.level === "error" ? -1 : 1));
  return (
    <section class="panel problems" aria-label="Problems">
      <h2 class="unseen">Problems</h2>
      <ul>
        {sorted.slice(0, MAX_PROBLEMS).map((problem) => (
          <li key={`${problem.where} ${problem.what}`} class={problem.level === "error" ? "bad" : "warn"}>
            <Icon name={problem.level === "error" ? "error" : "warning"} />
            <div>
              <p>
                <span class="unseen">{problem.level === "error" ? "Error: " : "Warning: "}</span>
                <b>{problem.what}</b> <span class="mono quiet">{problem.where}</span>
              </p>
              <p class="remedy">{problem.remedy}</p>
            </div>
          </li>
        ))}
      </ul>
      {sorted.length > MAX_PROBLEMS && <p class="more">and {count(sorted.length - MAX_PROBLEMS)} more</p>}
    </section>
  );
}

function Figures({ overview }: { overview: Overview }) {
  const { rate } = overview;
  return (
    <dl class="figures">
      <Figure label="Hosts" value={compact(overview.hosts)} />
      <Figure label="Namespaces" value={compact(overview.namespaces)} />
      <Figure label="From hosts" value={bitRate(rate.in.bytes)} more={`${compact(rate.in.packets)} packets/s`} />
      <Figure label="To hosts" value={bitRate(rate.out.bytes)} more={`${compact(rate.out.packets)} packets/s`} />
      <Figure label="Drops" value={perSecond(rate.drops)} />
      <Figure label="Running for" value={duration(overview.uptime)} />
    </dl>
  );
}

function Figure({ label, value, more }: { label: string; value: string; more?: string }) {
  return (
    <div>
      <dt>{label}</dt>
      <dd>
        {value}
        {more !== undefined && <small>{more}</small>}
      </dd>
    </div>
  );
}

function Services({ overview }: { overview: Overview }) {
  return (
    <Panel title="Services">
      <ul class="services">
        {overview.services.slice(0, 32).map((service) => (
          <li key={service.name}>
            <b>{service.name}</b> <span class="tag">{service.kind.replaceAll("_", " ")}</span> <span class="quiet">{service.summary}</span>
          </li>
        ))}
      </ul>
    </Panel>
  );
}

function LastHour() {
  const names = "in_bytes,out_bytes,drops";
  const { data, error } = useAnswer<Series>("v1/series", { names }, 8);
  if (data === null || Object.values(data.series).every((values) => values.length === 0)) {
    return (
      <Panel title="Last hour">
        <Empty error={error}>No figures yet.</Empty>
      </Panel>
    );
  }
  const of = (name: string): (number | null)[] => (data.series[name] ?? []).slice(-360);
  const most = (name: string): number => Math.max(0, ...of(name).map((value) => value ?? 0));
  const common = { end: data.end, step: data.step };
  return (
    <Panel title="Last hour">
      <Chart
        {...common}
        height={150}
        format={bitRate}
        summary={`Throughput of the last hour: at most ${bitRate(most("in_bytes"))} from hosts and ${bitRate(most("out_bytes"))} to hosts.`}
        lines={[
          { label: "To hosts", values: of("out_bytes"), strong: true },
          { label: "From hosts", values: of("in_bytes") },
        ]}
      />
      <Chart
        {...common}
        height={84}
        format={perSecond}
        summary={`Packets dropped in the last hour: at most ${perSecond(most("drops"))}.`}
        lines={[{ label: "Drops", values: of("drops"), tone: "bad" }]}
      />
    </Panel>
  );
}

function Talkers({ flows }: { flows: Flow[] }) {
  const busiest = [...flows].sort((a, b) => b.rate.bytes - a.rate.bytes).slice(0, 8);
  if (busiest.length === 0) return <Empty>Nobody sends at the moment.</Empty>;
  return (
    <ol class="talkers">
      {busiest.map((flow) => (
        <li key={`${flow.service} ${flow.namespace} ${flow.from} ${flow.to}`}>
          <span class="pair">
            <span class="name">{flow.from}</span>
            <span class="arrow" aria-label="to">
              →
            </span>
            <span class="name">{flow.to ?? "others"}</span>
          </span>
          <span class="number">{bitRate(flow.rate.bytes)}</span>
        </li>
      ))}
    </ol>
  );
}

function TopDrops({ drops }: { drops: Drops | null }) {
  const most = [...(drops?.reasons ?? [])].sort((a, b) => b.packets - a.packets).slice(0, 6);
  if (most.length === 0) return <Empty>None so far.</Empty>;
  return (
    <ul class="talkers">
      {most.map((drop) => (
        <li key={`${drop.service} ${drop.reason}`} title={drop.help}>
          <span class="mono">{drop.reason}</span>
          <span class="number">{count(drop.packets)}</span>
        </li>
      ))}
    </ul>
  );
}
