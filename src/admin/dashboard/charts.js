// Line charts of the latest minutes, drawn by uPlot.

import { formatClock } from './formats.js';
// Served from the package uplot.
import uPlot from './uPlot.esm.js';

/** The time that a chart shows, in s: at most, and at least when the page was just opened. */
const WINDOW = 180;
const MIN_WINDOW = 60;
/** Distances of the time labels, in s: whole seconds, so that no two labels are the same. */
const LABEL_STEPS = [5, 10, 15, 30, 60, 120];

const scheme = matchMedia('(prefers-color-scheme: dark)');

/** The current value of a colour in the style sheet. @param {string} name */
function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/**
 * Creates a chart that fills an element.
 * @param {HTMLElement} container
 * @param {{ name: string, color: string, isDashed?: boolean }[]} lines colours are names from the style sheet
 * @param {(value: number) => string} format
 * @returns a function that adds a point to each line, at a time in s since 1970. The values may be null. Unless
 *   `isContinuous`, the lines have a gap before it.
 */
export function createChart(container, lines, format) {
  const data = [[], ...lines.map(() => [])];
  const label = container.getAttribute('aria-label');
  const axis = {
    stroke: () => color('--quiet'),
    grid: { stroke: () => color('--line'), width: 1 },
    ticks: { show: false },
    font: '12px system-ui, sans-serif',
  };
  const chart = new uPlot(
    {
      width: container.clientWidth,
      height: container.clientHeight,
      legend: { show: false },
      cursor: { show: false },
      // Leaves room for half of the last time label.
      padding: [8, 28, 0, 0],
      scales: {
        x: { range: (_, first, latest) => [Math.min(first ?? 0, (latest ?? 0) - MIN_WINDOW), latest ?? 0] },
        y: { range: (_, __, highest) => [0, Math.max(highest * 1.15, Number.MIN_VALUE) || 1] },
      },
      axes: [
        { ...axis, size: 28, space: 64, incrs: LABEL_STEPS, values: (_, times) => times.map(labelOf) },
        { ...axis, size: 64, space: 44, values: (_, values) => values.map(format) },
      ],
      series: [
        {},
        ...lines.map((line) => ({
          label: line.name,
          stroke: () => color(line.color),
          width: 2,
          // Dashed, so that two overlapping lines are both visible.
          ...(line.isDashed ? { dash: [7, 5] } : {}),
          points: { show: false },
          ...(lines.length === 2 && line === lines[0] ? { fill: () => `${color(line.color)}1c` } : {}),
        })),
      ],
    },
    data,
    container,
  );
  new ResizeObserver(() =>
    chart.setSize({ width: container.clientWidth, height: container.clientHeight }),
  ).observe(container);
  scheme.addEventListener('change', () => chart.redraw(false, true));
  const add = (time, values) => {
    for (const [index, value] of [time, ...values].entries()) data[index].push(value);
  };
  return (time, values, isContinuous) => {
    const latest = data[0].at(-1);
    // Times must ascend: if the broker's clock was set back, the lines begin again.
    if (latest >= time) for (const column of data) column.length = 0;
    else if (latest !== undefined && !isContinuous)
      add(
        (latest + time) / 2,
        lines.map(() => null),
      );
    add(time, values);
    const expired = data[0].findIndex((at) => at >= time - WINDOW);
    for (const column of data) column.splice(0, expired);
    chart.setData(data);
    const now = lines.map(
      ({ name }, index) => `${name} ${values[index] === null ? 'unknown' : format(values[index])}`,
    );
    container.setAttribute('aria-label', `${label}: ${now.join(', ')}`);
  };
}

/** @param {number} seconds since 1970 */
function labelOf(seconds) {
  return formatClock(seconds * 1000);
}
