// Numbers, durations and names as people read them.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** 12,345 */
export const count = (value: number): string => whole.format(value);

/** 12.3 k: three digits and a unit. */
function scaled(value: number, units: readonly string[]): string {
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  const digits = unit === 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return `${value.toFixed(digits)} ${units[unit]}`.trim();
}

/** The number of a large count: 12.3 k */
export const compact = (value: number): string => (value < 10_000 ? count(value) : scaled(value, ["", "k", "M", "G", "T"]));

/** Bytes a second, as bits. */
export const bitRate = (bytes: number): string => scaled(bytes * 8, ["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"]);

export const bytes = (value: number): string => scaled(value, ["B", "kB", "MB", "GB", "TB", "PB"]);

/** Events a second. */
export function perSecond(value: number): string {
  if (value === 0) return "0/s";
  if (value < 10) return `${value < 0.1 ? "<0.1" : value.toFixed(1)}/s`;
  return `${compact(Math.round(value))}/s`;
}

/** 3 d 4 h: at most two units. */
export function duration(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  const minutes = Math.floor(s / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return pair(hours, "h", minutes % 60, "min");
  return pair(Math.floor(hours / 24), "d", hours % 24, "h");
}

function pair(large: number, unit: string, small: number, smaller: string): string {
  return small === 0 || large > 99 ? `${large} ${unit}` : `${large} ${unit} ${small} ${smaller}`;
}

/** A round trip. */
export function milliseconds(seconds: number | null): string {
  if (seconds === null) return "–";
  const ms = seconds * 1000;
  return `${ms >= 100 ? ms.toFixed(0) : ms >= 1 ? ms.toFixed(1) : ms.toFixed(2)} ms`;
}

/** The time of day. */
export function clock(unix: number): string {
  return new Date(unix * 1000).toLocaleTimeString("en-GB");
}

/** A namespace's id, short: ids are UUIDs. */
export function shortNamespace(id: string): string {
  if (/^[0-]+$/.test(id)) return "default";
  return /^[0-9a-f]{8}-/i.test(id) ? id.slice(0, 8) : id.length > 20 ? `${id.slice(0, 19)}…` : id;
}

export function shorten(text: string, most: number): string {
  return text.length <= most ? text : `${text.slice(0, most - 1)}…`;
}

export const sum = (counts: Record<string, number> | number): number =>
  typeof counts === "number" ? counts : Object.values(counts).reduce((all, one) => all + one, 0);
