// The icons: strokes on a grid of 16.

const paths: Record<string, string> = {
  overview: "M2 9.5 6 5l3.5 4L14 3.5M2 13.5h12",
  hosts: "M2.5 3h11v4h-11zM2.5 9h11v4h-11zM5 5h.01M5 11h.01",
  namespaces: "M8 1.8 14 5 8 8.2 2 5zM2 8l6 3.2L14 8M2 11l6 3.2 6-3.2",
  routes: "M4 3.5v9M4 6h5a3 3 0 0 1 3 3v3.5M9.8 10.5 12 12.8l2.2-2.3",
  drops: "M8 2c2.6 3.2 4 5.4 4 7.3A4 4 0 0 1 4 9.3C4 7.4 5.4 5.2 8 2z",
  explain: "M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12zM6.2 6.2a1.9 1.9 0 1 1 2.6 1.8c-.6.3-.8.7-.8 1.3M8 11.5h.01",
  join: "M8 3v10M3 8h10",
  events: "M2 8h3l2-5 2.5 10L11.5 8H14",
  check: "M3 8.5 6.5 12 13 4.5",
  copy: "M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3",
  warning: "M8 2.2 14.5 13.5h-13zM8 6.5v3M8 11.700h.01",
  error: "M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12zM8 5v3.5M8 11h.01",
  more: "m6 4 4 4-4 4",
};

export function Icon({ name }: { name: string }) {
  return (
    <svg class="icon" viewBox="0 0 16 16" aria-hidden="true" focusable="false">
      <path d={paths[name] ?? ""} />
    </svg>
  );
}
