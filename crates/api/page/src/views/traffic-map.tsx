// The map of the network: who talks to whom.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Flows, Host, Overview } from "../api";
import { bitRate, count, shorten, shortNamespace } from "../format";
import { choose, type Edge, type Node, plan } from "../map";
import { linkTo } from "../route";

/** The most hosts with a place, and how large they stand, where there is room and where there is not. */
const ROOMY = { most: 40, size: { radius: 200, name: 18 } };
const NARROW = { most: 20, size: { radius: 116, name: 12 } };

export function TrafficMap(props: { hosts: Host[]; total: number; flows: Flows; overview: Overview }) {
  const { hosts, total, flows, overview } = props;
  const [active, setActive] = useState<string | null>(null);
  const before = useRef<ReadonlySet<string>>(new Set());
  const isNarrow = useNarrow();
  const drawn = useMemo(() => {
    const { most, size } = isNarrow ? NARROW : ROOMY;
    const shown = choose(hosts, flows.flows, most, before.current);
    const named = overview.services.filter((service) => service.kind === "hub").map((service) => service.name);
    const drawn = plan(shown, flows.flows, total, named.slice(0, 5), size);
    before.current = new Set(drawn.nodes.map((node) => node.key));
    return drawn;
  }, [hosts, flows, total, isNarrow]);

  const chosen = drawn.nodes.find((node) => node.key === active) ?? null;
  const around = chosen === null ? [] : drawn.edges.filter((edge) => edge.from === chosen || edge.to === chosen);
  const lit = new Set(around.flatMap((edge) => [edge.from.key, edge.to.key]));
  const keys = (event: KeyboardEvent): void => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (step !== undefined && drawn.nodes.length > 0) {
      event.preventDefault();
      const now = chosen === null ? (step > 0 ? -1 : 0) : drawn.nodes.indexOf(chosen);
      const next = (now + step + drawn.nodes.length) % drawn.nodes.length;
      setActive(drawn.nodes[next]?.key ?? null);
    } else if (event.key === "Enter" && chosen !== null) {
      location.hash = linkTo("hosts", { search: chosen.title, namespace: chosen.namespace });
    } else if (event.key === "Escape") {
      setActive(null);
    }
  };
  const flat = drawn.nodes.length <= 12;
  // Names turned around the circle need room on all sides, flat ones at the left and the right.
  const wide = Math.round(drawn.extent);
  const high = flat ? (isNarrow ? NARROW : ROOMY).size.radius + 34 : wide;
  const summary = `Map: ${count(drawn.nodes.length)} hosts, ${count(drawn.edges.length)} pairs that talk. Arrow keys go from host to host.`;
  return (
    <div class="map">
      <svg
        viewBox={`-${wide} -${high} ${wide * 2} ${high * 2}`}
        class={chosen === null ? "" : "chosen"}
        role="application"
        aria-label={summary}
        tabIndex={0}
        onKeyDown={keys}
        onMouseLeave={() => setActive(null)}
        onBlur={() => setActive(null)}
      >
        {drawn.arcs.map((arc) => (
          <path key={arc.key} class="ring" d={arc.path} />
        ))}
        {drawn.edges.map((edge) => (
          <Way key={edge.key} edge={edge} lit={around.includes(edge)} />
        ))}
        {drawn.arcs.map(
          (arc, at) =>
            arc.label !== "" && (
              <g key={arc.key}>
                <path id={`ring-${at}`} class="ring-back" d={arc.textPath} />
                <text class="ring-name">
                  <textPath href={`#ring-${at}`} startOffset="50%">
                    {arc.label}
                  </textPath>
                </text>
              </g>
            ),
        )}
        {drawn.hubs.map((hub) => (
          <g class="hub" key={hub.name} transform={`translate(${hub.x} ${hub.y})`}>
            <circle r="27" />
            <text y="4">{shorten(hub.name, 8)}</text>
          </g>
        ))}
        {drawn.nodes.map((node) => (
          <Place
            key={node.key}
            node={node}
            flat={flat}
            lit={node === chosen || lit.has(node.key)}
            isActive={node === chosen}
            choose={() => setActive(node.key)}
          />
        ))}
      </svg>
      <p class="map-caption" aria-live="polite">
        {chosen === null ? <Rest rest={drawn.rest} shown={drawn.nodes.length} /> : <About node={chosen} edges={around} />}
      </p>
    </div>
  );
}

function Way({ edge, lit }: { edge: Edge; lit: boolean }) {
  // Steps, so that lines do not change with each packet.
  const level = Math.max(1, Math.ceil(edge.share * 6));
  return <path class={`way level-${level}${lit ? " lit" : ""}`} d={edge.path} />;
}

function Place(props: { node: Node; flat: boolean; lit: boolean; isActive: boolean; choose: () => void }) {
  const { node, flat, lit, isActive, choose } = props;
  const isLeft = Math.sin(node.angle) < -1e-6;
  const turn = (node.angle * 180) / Math.PI - 90 + (isLeft ? 180 : 0);
  const isPole = Math.abs(Math.sin(node.angle)) < 0.2;
  const label = flat
    ? { x: isPole ? 0 : isLeft ? -14 : 14, y: isPole ? (Math.cos(node.angle) > 0 ? -14 : 22) : 4 }
    : { x: isLeft ? -12 : 12, y: 3.5, transform: `rotate(${turn.toFixed(1)})` };
  const anchor = flat && isPole ? "middle" : isLeft ? "end" : "start";
  return (
    <g
      class={`place${node.rate > 0 ? " busy" : ""}${lit ? " lit" : ""}${isActive ? " active" : ""}`}
      transform={`translate(${node.x.toFixed(1)} ${node.y.toFixed(1)})`}
      onMouseEnter={choose}
      onClick={choose}
    >
      <title>{node.title}</title>
      <circle class="target" r="13" />
      <circle class="dot" r={node.radius.toFixed(1)} />
      <text text-anchor={anchor} {...label}>
        {node.label}
      </text>
    </g>
  );
}

function About({ node, edges }: { node: Node; edges: Edge[] }) {
  const { host } = node;
  const others = edges
    .slice(-3)
    .reverse()
    .map((edge) => (edge.from === node ? edge.to.title : edge.from.title));
  return (
    <>
      <b>{node.title}</b>
      <span class="mono">{shortNamespace(node.namespace)}</span>
      {host !== null && (
        <span>
          in {bitRate(host.rate.in.bytes)}, out {bitRate(host.rate.out.bytes)}
        </span>
      )}
      {others.length > 0 && (
        <span>
          talks to {others.join(", ")}
          {edges.length > others.length && ` and ${count(edges.length - others.length)} more`}
        </span>
      )}
    </>
  );
}

function Rest({ rest, shown }: { rest: number; shown: number }) {
  if (shown === 0) return <span>No host is connected.</span>;
  if (rest === 0) return <span>All connected hosts.</span>;
  return (
    <>
      <span>
        The {count(shown)} busiest, and <a href={linkTo("hosts")}>{count(rest)} more hosts</a>.
      </span>
    </>
  );
}

function useNarrow(): boolean {
  const [isNarrow, set] = useState(false);
  useEffect(() => {
    const media = matchMedia("(max-width: 640px)");
    const changed = (): void => set(media.matches);
    changed();
    media.addEventListener("change", changed);
    return () => media.removeEventListener("change", changed);
  }, []);
  return isNarrow;
}
