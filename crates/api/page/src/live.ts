// Asks the hub again and again while the page is visible, and listens to its events.

import { useEffect, useRef, useState } from "preact/hooks";
import { ask, type HubEvent, type Overview, type Query, Refused, withQuery } from "./api";

/** Milliseconds from one round of questions to the next. */
const PERIOD = 2000;

/** The most events that are kept; the oldest goes first. */
export const MAX_EVENTS = 200;

/** A value that components can follow. */
class Followed<T> {
  private readonly followers = new Set<(value: T) => void>();

  constructor(private held: T) {}

  get value(): T {
    return this.held;
  }

  set(value: T): void {
    this.held = value;
    for (const follower of this.followers) follower(value);
  }

  follow(follower: (value: T) => void): () => void {
    this.followers.add(follower);
    return () => this.followers.delete(follower);
  }
}

export function useFollowed<T>(followed: Followed<T>): T {
  const [value, set] = useState(followed.value);
  useEffect(() => {
    set(followed.value);
    return followed.follow(set);
  }, [followed]);
  return value;
}

/** Whether the hub answers. */
export type Contact = { state: "asking" } | { state: "live" } | { state: "away"; since: number } | { state: "refused"; text: string };

/** A line of the list of events; `missed` counts events that the hub no longer had. */
export type EventLine = HubEvent | { id: number; missed: number };

export const overview = new Followed<Overview | null>(null);
export const contact = new Followed<Contact>({ state: "asking" });
export const events = new Followed<EventLine[]>([]);

/** Seconds by which the hub's clock is ahead of the browser's. */
let ahead = 0;

/** The hub's time, in Unix seconds. */
export const hubNow = (): number => Date.now() / 1000 + ahead;

const questions = new Set<() => Promise<void>>();
let timer: number | undefined;
let running = false;

async function round(): Promise<void> {
  if (running || document.hidden) return;
  running = true;
  window.clearTimeout(timer);
  const asked = [...questions].map((question) => question());
  try {
    const seen = await ask<Overview>("v1/overview");
    const before = overview.value;
    if (before !== null && before.version !== seen.version) {
      // Another program serves a page of its own.
      location.reload();
      return;
    }
    ahead = seen.started + seen.uptime - Date.now() / 1000;
    if (before !== null && (before.pid !== seen.pid || before.started !== seen.started)) stream.restart();
    overview.set(seen);
    if (contact.value.state !== "live") contact.set({ state: "live" });
    stream.open();
  } catch (error) {
    if (error instanceof Refused) {
      contact.set({ state: "refused", text: error.message });
    } else if (contact.value.state !== "away") {
      contact.set({ state: "away", since: Date.now() / 1000 });
    }
  }
  await Promise.allSettled(asked);
  running = false;
  if (!document.hidden) timer = window.setTimeout(() => void round(), PERIOD);
}

/** The one stream of events. It is open only while the page is visible and the hub answers. */
const stream = new (class {
  private source: EventSource | null = null;
  private last = 0;

  open(): void {
    if (this.source !== null || document.hidden) return;
    const source = new EventSource(withQuery("v1/events", { since: this.last }));
    source.addEventListener("event", (message: MessageEvent<string>) => {
      const event = JSON.parse(message.data) as HubEvent;
      if (event.id <= this.last) return;
      this.last = event.id;
      add(event);
    });
    source.addEventListener("missed", (message: MessageEvent<string>) => {
      const { count } = JSON.parse(message.data) as { count: number };
      add({ id: this.last + 0.5, missed: count });
    });
    // The next round opens it again when the hub answers.
    source.onerror = () => this.close();
    this.source = source;
  }

  close(): void {
    this.source?.close();
    this.source = null;
  }

  /** Another process counts its events from the beginning. */
  restart(): void {
    this.close();
    this.last = 0;
    events.set([]);
  }
})();

/** Events that came since the last drawing. */
let fresh: EventLine[] = [];

function add(line: EventLine): void {
  if (fresh.length === 0) {
    window.setTimeout(() => {
      events.set([...fresh.reverse(), ...events.value].slice(0, MAX_EVENTS));
      fresh = [];
    }, 100);
  }
  fresh.push(line);
  if (fresh.length > MAX_EVENTS) fresh.shift();
}

export function start(): void {
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      window.clearTimeout(timer);
      stream.close();
    } else {
      void round();
    }
  });
  void round();
}

export interface Answer<T> {
  data: T | null;
  /** What the hub said instead; null also while it does not answer at all. */
  error: string | null;
}

/** Asks now, when the question changes, and in each round while the component is shown; `every`: at most once in so many seconds. */
export function useAnswer<T>(path: string, query: Query = {}, every = 0): Answer<T> {
  const [answer, set] = useState<Answer<T>>({ data: null, error: null });
  const url = withQuery(path, query);
  const shown = useRef(url);
  useEffect(() => {
    shown.current = url;
    let at = 0;
    const question = async (): Promise<void> => {
      if (Date.now() - at < every * 1000) return;
      at = Date.now();
      try {
        const data = await ask<T>(url);
        if (shown.current === url) set({ data, error: null });
      } catch (error) {
        at = 0;
        if (shown.current === url && error instanceof Refused) set({ data: null, error: error.message });
      }
    };
    questions.add(question);
    if (!document.hidden) void question();
    return () => {
      questions.delete(question);
      shown.current = "";
    };
  }, [url, every]);
  return answer;
}
