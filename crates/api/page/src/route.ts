// Which view is shown, with which parameters: the part of the address after #.

import { useEffect, useState } from "preact/hooks";
import { withQuery, type Query } from "./api";

export interface Place {
  view: string;
  parameters: URLSearchParams;
}

function read(): Place {
  const [view = "", query = ""] = location.hash.replace(/^#\/?/, "").split("?", 2);
  return { view: view === "" ? "overview" : view, parameters: new URLSearchParams(query) };
}

export const linkTo = (view: string, query: Query = {}): string => withQuery(`#/${view}`, query);

export function usePlace(): Place {
  const [place, set] = useState(read);
  useEffect(() => {
    const changed = (): void => set(read());
    window.addEventListener("hashchange", changed);
    return () => window.removeEventListener("hashchange", changed);
  }, []);
  return place;
}

/** Changes parameters of the place shown; what is empty goes. It makes no step of the browser's history. */
export function change(query: Query): void {
  const { view, parameters } = read();
  const all: Query = Object.fromEntries(parameters);
  history.replaceState(null, "", linkTo(view, { ...all, ...query }));
  window.dispatchEvent(new HashChangeEvent("hashchange"));
}
