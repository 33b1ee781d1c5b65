// The lines over the latest minutes, drawn by uPlot.

/* global uPlot */

/** Points kept: one a second. */
const POINTS = 180;

const scheme = matchMedia('(prefers-color-scheme: dark)');

/** A colour of the style sheet, as it is now. @param {string} name */
function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/**
 * Draws in an element, as wide and high as that is.
 * @param {HTMLElement} host
 * @param {{ name: string, color: string, isDashed?: boolean }[]} lines colours are names of the style sheet's
 * @param {(value: number) => string} format
 * @returns a function that adds a point to each line
 */
export function createChart(host, lines, format) {
  const data = [[], ...lines.map(() => [])];
  const label = host.getAttribute('aria-label');
  const axis = {
    stroke: () => color('--quiet'),
    grid: { stroke: () => color('--line'), width: 1 },
    ticks: { show: false },
    font: '12px system-ui, sans-serif',
  };
  const chart = new uPlot(
    {
      width: host.clientWidth,
      height: host.clientHeight,
      legend: { show: false },
      cursor: { show: false },
      // Room for half of the last clock time.
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
          // Two that run together can both be seen.
          ...(line.isDashed ? { dash: [7, 5] } : {}),
          points: { show: false },
          ...(lines.length === 2 && line === lines[0] ? { fill: () => `${color(line.color)}1c` } : {}),
        })),
      ],
    },
    data,
    host,
  );
  new ResizeObserver(() => chart.setSize({ width: host.clientWidth, height: host.clientHeight })).observe(
    host,
  );
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
    host.setAttribute('aria-label', `${label}: ${now.join(', ')}`);
  };
}

/** @param {number} seconds since 1970 */
function formatClock(seconds) {
  return new Date(seconds * 1000).toLocaleTimeString('en-GB');
}
