// A series of the last hour, drawn by uPlot.

import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";

export interface Line {
  label: string;
  values: (number | null)[];
  /** Drawn in the accent colour, with its area filled. */
  strong?: boolean;
  tone?: "bad";
}

/** What is shown of the time, in seconds, also of a hub that has just started. */
const HOUR = 3600;

interface ChartProps {
  /** For those who do not see it. */
  summary: string;
  lines: Line[];
  end: number;
  step: number;
  height: number;
  format: (value: number) => string;
}

const colour = (name: string): string => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export function Chart(props: ChartProps) {
  const { lines, end, step, height, summary } = props;
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const latest = useRef(props);
  latest.current = props;

  useEffect(() => {
    const target = place.current;
    if (target === null) return;
    const draw = (): void => {
      plot.current?.destroy();
      plot.current = new uPlot(options(latest.current, target.clientWidth), data(latest.current), target);
    };
    draw();
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", draw);
    const resized = new ResizeObserver(() => plot.current?.setSize({ width: target.clientWidth, height }));
    resized.observe(target);
    return () => {
      resized.disconnect();
      dark.removeEventListener("change", draw);
      plot.current?.destroy();
      plot.current = null;
    };
  }, [lines.map((line) => line.label).join(), height]);

  useEffect(() => plot.current?.setData(data(latest.current)), [end, step, lines[0]?.values.length]);

  return <div class="chart" role="img" aria-label={summary} ref={place} />;
}

function data({ lines, end, step }: ChartProps): uPlot.AlignedData {
  const length = Math.max(0, ...lines.map((line) => line.values.length));
  const times = Array.from({ length }, (_, at) => end - (length - 1 - at) * step);
  return [times, ...lines.map((line) => line.values)];
}

function options(props: ChartProps, width: number): uPlot.Options {
  const [text, grid, bad, accent, fill, weak] = ["--muted", "--line", "--bad", "--accent", "--accent-fill", "--weak"].map(colour);
  const font = `11px ${getComputedStyle(document.body).fontFamily}`;
  const axis: uPlot.Axis = {
    stroke: text ?? "",
    font,
    grid: { stroke: grid ?? "", width: 1 },
    ticks: { show: false },
  };
  return {
    width,
    height: props.height,
    padding: [8, 18, 0, 0],
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
    legend: { live: true, markers: { width: 2 } },
    scales: {
      x: { time: true, range: (_, __, latest) => [latest - HOUR, latest] },
      y: { range: (_, __, most) => [0, Math.max(most, 1e-9) * 1.08] },
    },
    axes: [
      { ...axis, grid: { show: false }, values: (_, times) => times.map((time) => clockOf(time)), space: 64, size: 28 },
      { ...axis, size: 76, space: 36, values: (_, values) => values.map((value) => props.format(value)) },
    ],
    series: [
      { label: "", value: (_, time) => (time === null ? "" : clockOf(time, true)) },
      ...props.lines.map((line): uPlot.Series => ({
        label: line.label,
        stroke: (line.tone === "bad" ? bad : line.strong ? accent : weak) ?? "",
        width: line.strong ? 1.75 : 1.25,
        points: { show: false },
        value: (plot, value, index) => {
          // Where no time is pointed at: the latest.
          const shown = value ?? plot.data[index]?.at(-1);
          return shown === null || shown === undefined ? "–" : props.format(shown);
        },
        ...(line.strong ? { fill: fill ?? "" } : {}),
      })),
    ],
  };
}

function clockOf(time: number, seconds = false): string {
  const text = new Date(time * 1000).toLocaleTimeString("en-GB");
  return seconds ? text : text.slice(0, 5);
}
