// The frame of the page: the way to each view, whether the hub answers, and the view shown.

import "uplot/dist/uPlot.min.css";
import "./style/base.css";
import "./style/frame.css";
import "./style/overview.css";
import "./style/tables.css";
import "./style/details.css";
import "./style/narrow.css";
import { type ComponentChildren, render } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { Overview } from "./api";
import { compact, duration } from "./format";
import { Icon } from "./icons";
import { type Contact, contact, overview, start, useFollowed } from "./live";
import { linkTo, type Place, usePlace } from "./route";
import { DropsView } from "./views/drops";
import { EventsView } from "./views/events";
import { ExplainView } from "./views/explain";
import { HostsView } from "./views/hosts";
import { JoinView } from "./views/join";
import { NamespacesView } from "./views/namespaces";
import { OverviewView } from "./views/overview";
import { RoutesView } from "./views/routes";

interface View {
  name: string;
  title: string;
  /** Shown beside its name. */
  note?: (overview: Overview) => ComponentChildren;
  show: (place: Place, overview: Overview) => ComponentChildren;
}

const overviewView: View = {
  name: "overview",
  title: "Overview",
  note: ({ problems }) =>
    problems > 0 && (
      <span class="badge">
        {compact(problems)}
        <span class="unseen"> problems</span>
      </span>
    ),
  show: (_, overview) => <OverviewView overview={overview} />,
};

const views: View[] = [
  overviewView,
  { name: "hosts", title: "Hosts", note: ({ hosts }) => compact(hosts), show: (place) => <HostsView place={place} /> },
  {
    name: "namespaces",
    title: "Namespaces",
    note: ({ namespaces }) => compact(namespaces),
    show: (place) => <NamespacesView place={place} />,
  },
  { name: "routes", title: "Routes", show: (place) => <RoutesView place={place} /> },
  { name: "drops", title: "Drops", show: (_, overview) => <DropsView overview={overview} /> },
  { name: "explain", title: "Explain", show: (place, overview) => <ExplainView place={place} overview={overview} /> },
  { name: "join", title: "Join a host", show: (_, overview) => <JoinView overview={overview} /> },
  { name: "events", title: "Events", show: () => <EventsView /> },
];

function Page() {
  const place = usePlace();
  const seen = useFollowed(overview);
  const state = useFollowed(contact);
  const view = views.find((view) => view.name === place.view) ?? overviewView;
  const heading = useRef<HTMLHeadingElement>(null);
  const isFirst = useRef(true);
  const name = seen?.services.find((service) => service.kind === "hub")?.name ?? seen?.services[0]?.name ?? "rtun";

  useEffect(() => {
    document.title = `${view.title} · ${name} · rtun`;
  }, [view, name]);
  useEffect(() => {
    // A screen reader goes on at the top of the new view.
    if (!isFirst.current) heading.current?.focus();
    isFirst.current = false;
    window.scrollTo(0, 0);
  }, [view]);

  return (
    <>
      <a class="skip" href="#main" onClick={(event) => (event.preventDefault(), heading.current?.focus())}>
        Skip to the content
      </a>
      <header class="side">
        <a class="brand" href={linkTo("overview")}>
          <img src="page/icon.svg" alt="" width="22" height="22" />
          <span class="brand-name">{name}</span>
        </a>
        <nav aria-label="Views">
          <ul>
            {views.map((one) => (
              <li key={one.name}>
                <a href={linkTo(one.name)} aria-current={one === view ? "page" : undefined}>
                  <Icon name={one.name} />
                  <span>{one.title}</span>
                  {seen !== null && one.note !== undefined && <span class="count">{one.note(seen)}</span>}
                </a>
              </li>
            ))}
          </ul>
        </nav>
        <div class="about">
          <Live state={state} />
          {seen !== null && (
            <small>
              rtun {seen.version}
              {seen.role === "reader" && ", read only"}
            </small>
          )}
        </div>
      </header>
      <main id="main" class={state.state === "away" ? "stale" : ""}>
        <h1 tabIndex={-1} ref={heading}>
          {view.title}
        </h1>
        <Notice state={state} />
        {seen !== null && <div class="view">{view.show(place, seen)}</div>}
      </main>
    </>
  );
}

function Live({ state }: { state: Contact }) {
  const [tone, text] =
    state.state === "live"
      ? ["good", "Live"]
      : state.state === "asking"
        ? ["off", "Asking"]
        : state.state === "away"
          ? ["bad", "Not reached"]
          : ["bad", "Refused"];
  return (
    <span class="live" role="status">
      <span class={`state ${tone}`} aria-hidden="true" />
      {text}
    </span>
  );
}

/** Says that the hub does not answer; below it stands what was known last. */
function Notice({ state }: { state: Contact }) {
  const [now, tick] = useState(Date.now() / 1000);
  useEffect(() => {
    if (state.state !== "away") return;
    const timer = window.setInterval(() => tick(Date.now() / 1000), 1000);
    return () => window.clearInterval(timer);
  }, [state]);
  if (state.state === "away") {
    return (
      <div class="notice bad">
        <Icon name="error" />
        <p>
          <b role="alert">The hub does not answer.</b> What is shown is {duration(Math.max(0, now - state.since))} old. The page goes on by
          itself when the hub is back.
        </p>
      </div>
    );
  }
  if (state.state === "refused") {
    return (
      <div class="notice bad" role="alert">
        <Icon name="error" />
        <p>{state.text}</p>
      </div>
    );
  }
  return null;
}

const app = document.getElementById("app");
if (app !== null) {
  app.replaceChildren();
  render(<Page />, app);
  start();
}
