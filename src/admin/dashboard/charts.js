// Line charts of the latest minutes, drawn by uPlot.

// Served from the package uplot.
import uPlot from './uPlot.esm.js';

/** Number of points: one per second. */
const POINTS = 180;

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
 * @returns a function that adds a point to each line
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
      scales: { y: { range: (_, __, highest) => [0, Math.max(highest * 1.15, Number.MIN_VALUE) || 1] } },
      axes: [
        { ...axis, size: 28, space: 90, values: (_, times) => times.map(formatClock) },
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
  return (time, values) => {
    for (const [index, value] of [time, ...values].entries()) {
      data[index].push(value);
      if (data[index].length > POINTS) data[index].shift();
    }
    chart.setData(data);
    const now = lines.map(
      ({ name }, index) => `${name} ${values[index] === null ? 'unknown' : format(values[index])}`,
    );
    container.setAttribute('aria-label', `${label}: ${now.join(', ')}`);
  };
}

/** @param {number} seconds since 1970 */
function formatClock(seconds) {
  return new Date(seconds * 1000).toLocaleTimeString('en-GB');
}
