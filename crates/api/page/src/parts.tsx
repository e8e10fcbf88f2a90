// The parts that views are made of: panels, tables with pages, buttons that copy.

import { type ComponentChildren, Fragment } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { count, shortNamespace } from "./format";
import { Icon } from "./icons";
import { linkTo } from "./route";

export function Panel(props: { title: string; note?: ComponentChildren; children: ComponentChildren; class?: string }) {
  return (
    <section class={`panel ${props.class ?? ""}`} aria-label={props.title}>
      <div class="panel-head">
        <h2>{props.title}</h2>
        {props.note !== undefined && <div class="note">{props.note}</div>}
      </div>
      {props.children}
    </section>
  );
}

/** Where there is nothing to list; `error` is what the hub said instead of an answer. */
export function Empty({ error, children }: { error?: string | null; children: ComponentChildren }) {
  return error ? (
    <p class="empty bad" role="alert">
      {error}
    </p>
  ) : (
    <p class="empty">{children}</p>
  );
}

/** A namespace, short, with its id as a tip. */
export function NamespaceLink({ id }: { id: string }) {
  return (
    <a class="quiet mono" href={linkTo("hosts", { namespace: id })} title={`Hosts of namespace ${id}`}>
      {shortNamespace(id)}
    </a>
  );
}

export interface Column<T> {
  label: string;
  /** The word by which the hub sorts. */
  sort?: string;
  numeric?: boolean;
  class?: string;
  cell: (item: T) => ComponentChildren;
}

export interface Sorting {
  by: string;
  descending: boolean;
  set: (by: string, descending: boolean) => void;
}

/** A table; where there is no room for columns each row becomes a block. The roles keep it a table then. */
export function Table<T>(props: {
  caption: string;
  columns: Column<T>[];
  items: T[];
  keyOf: (item: T) => string;
  sorting?: Sorting;
  /** What is below a row once it is opened. */
  detail?: (item: T) => ComponentChildren;
}) {
  const { caption, columns, items, keyOf, sorting, detail } = props;
  const [opened, open] = useState<string | null>(null);
  return (
    <table role="table" class="list">
      <caption class="unseen">{caption}</caption>
      <thead role="rowgroup">
        <tr role="row">
          {columns.map((column) => (
            <Heading column={column} sorting={sorting} />
          ))}
        </tr>
      </thead>
      <tbody role="rowgroup">
        {items.map((item) => {
          const key = keyOf(item);
          const isOpen = key === opened;
          return (
            <Fragment key={key}>
              <tr role="row" class={isOpen ? "opened" : ""}>
                {columns.map((column, at) => (
                  <td role="cell" class={classOf(column)} data-label={column.label}>
                    {at === 0 && detail !== undefined ? (
                      <div class="first">
                        <button
                          type="button"
                          class="opener"
                          aria-expanded={isOpen}
                          aria-label={`Details of ${key}`}
                          onClick={() => open(isOpen ? null : key)}
                        >
                          <Icon name="more" />
                        </button>
                        {column.cell(item)}
                      </div>
                    ) : (
                      column.cell(item)
                    )}
                  </td>
                ))}
              </tr>
              {isOpen && detail !== undefined && (
                <tr role="row" class="detail">
                  <td role="cell" colSpan={columns.length}>
                    {detail(item)}
                  </td>
                </tr>
              )}
            </Fragment>
          );
        })}
      </tbody>
    </table>
  );
}

function classOf<T>(column: Column<T>): string {
  return `${column.numeric ? "number" : ""} ${column.class ?? ""}`.trim();
}

function Heading<T>({ column, sorting }: { column: Column<T>; sorting: Sorting | undefined }) {
  const { sort, label } = column;
  if (sorting === undefined || sort === undefined) {
    return (
      <th role="columnheader" scope="col" class={classOf(column)}>
        {label}
      </th>
    );
  }
  const isBy = sorting.by === sort;
  const descending = isBy ? !sorting.descending : sort !== "name";
  return (
    <th
      role="columnheader"
      scope="col"
      class={classOf(column)}
      aria-sort={isBy ? (sorting.descending ? "descending" : "ascending") : "none"}
    >
      <button type="button" onClick={() => sorting.set(sort, descending)}>
        <span class="arrow" aria-hidden="true">
          {isBy ? (sorting.descending ? "↓" : "↑") : ""}
        </span>
        {label}
      </button>
    </th>
  );
}

export function Pages(props: { total: number; page: number; perPage: number; go: (page: number) => void }) {
  const { total, page, perPage, go } = props;
  const last = Math.max(1, Math.ceil(total / perPage));
  const from = total === 0 ? 0 : (page - 1) * perPage + 1;
  return (
    <nav class="pages" aria-label="Pages">
      <span aria-live="polite">
        {count(from)}–{count(Math.min(total, page * perPage))} of {count(total)}
      </span>
      <button type="button" disabled={page <= 1} onClick={() => go(page - 1)}>
        Previous
      </button>
      <button type="button" disabled={page >= last} onClick={() => go(page + 1)}>
        Next
      </button>
    </nav>
  );
}

/** A search field: what is typed counts once the typing pauses. */
export function Search(props: { label: string; value: string; set: (text: string) => void }) {
  const [typed, type] = useState(props.value);
  const timer = useRef<number>();
  // What comes back of its own is older than what has been typed since.
  const sent = useRef(props.value);
  useEffect(() => {
    if (props.value !== sent.current) type(props.value);
    sent.current = props.value;
  }, [props.value]);
  useEffect(() => () => window.clearTimeout(timer.current), []);
  return (
    <input
      type="search"
      class="search"
      aria-label={props.label}
      placeholder={props.label}
      value={typed}
      onInput={(input) => {
        const text = input.currentTarget.value;
        type(text);
        window.clearTimeout(timer.current);
        timer.current = window.setTimeout(() => {
          sent.current = text.trim();
          props.set(sent.current);
        }, 200);
      }}
    />
  );
}

/** A filter in force, and the button that takes it away. */
export function Filter(props: { label: string; value: string; remove: () => void }) {
  return (
    <button type="button" class="filter" onClick={props.remove} aria-label={`Remove the filter ${props.label} ${props.value}`}>
      {props.label} <b>{props.value}</b> <span aria-hidden="true">×</span>
    </button>
  );
}

/** Text to take along. */
export function Copyable(props: { label: string; text: string; block?: boolean }) {
  const [copied, set] = useState(false);
  const shown = useRef<HTMLElement>(null);
  useEffect(() => {
    if (!copied) return;
    const timer = window.setTimeout(() => set(false), 2000);
    return () => window.clearTimeout(timer);
  }, [copied]);
  const copy = async (): Promise<void> => {
    try {
      await navigator.clipboard.writeText(props.text);
      set(true);
    } catch {
      // Browsers have no clipboard for pages over plain HTTP: the selection can be copied there.
      const selection = getSelection();
      if (shown.current !== null && selection !== null) {
        selection.selectAllChildren(shown.current);
        set(document.execCommand("copy"));
      }
    }
  };
  return (
    <div class={props.block ? "copyable block" : "copyable"}>
      <pre tabIndex={0} aria-label={props.label}>
        <code ref={shown}>{props.text}</code>
      </pre>
      <button type="button" onClick={() => void copy()} aria-label={`Copy: ${props.label}`}>
        <Icon name={copied ? "check" : "copy"} />
        <span aria-live="polite">{copied ? "Copied" : "Copy"}</span>
      </button>
    </div>
  );
}
