// The charts of the page. They begin with the history that the broker keeps, show the same range of time, and are paused
// together.

import { Chart } from './charts.js';
import { element } from './elements.js';
import { formatBytes, formatLatency, formatShare, formatShort } from './formats.js';
import { request } from './token.js';

/** The ranges of time, in s. */
const RANGES = [
  ['5 min', 300],
  ['15 min', 900],
  ['1 h', 3600],
];
/** Points that are further apart than this many intervals have a gap between them. */
const MAX_DISTANCE = 2.5;

/** The lines by chart. `column` is that of the history, `value` the same in a snapshot. */
const CHARTS = {
  rates: {
    format: formatShort,
    lines: [
      {
        name: 'received',
        color: 'blue',
        column: 'received',
        value: ({ rates }) => rates.messagesReceived,
      },
      {
        name: 'delivered',
        color: 'green',
        isDashed: true,
        column: 'delivered',
        value: ({ rates }) => rates.messagesSent,
      },
    ],
  },
  latency: {
    format: formatLatency,
    lines: [
      { name: 'p50', color: 'blue', column: 'p50', value: ({ latency }) => latency.p50 },
      { name: 'p90', color: 'amber', column: 'p90', value: ({ latency }) => latency.p90 },
      { name: 'p99', color: 'red', column: 'p99', value: ({ latency }) => latency.p99 },
    ],
  },
  losses: {
    format: formatShort,
    lines: [
      { name: 'rejected', color: 'amber', column: 'rejected', value: ({ rates }) => rates.messagesRejected },
      {
        name: 'dropped',
        color: 'red',
        isDashed: true,
        column: 'dropped',
        value: ({ rates }) => rates.messagesDropped,
      },
    ],
  },
  workers: {
    format: formatShare,
    lines: [
      { name: 'busy', color: 'blue', column: 'utilization', value: ({ workers }) => workers.utilization },
    ],
  },
  connections: {
    format: formatShort,
    lines: [
      { name: 'open', color: 'blue', column: 'connections', value: ({ connections }) => connections.open },
    ],
  },
  memory: {
    format: formatBytes,
    lines: [{ name: 'resident', color: 'blue', column: 'rss', value: ({ memory }) => memory.rss }],
  },
};

/**
 * @param {(id: string) => HTMLElement} byId finds `chart-NAME` and `legend-NAME` of each chart
 * @param {HTMLElement} ranges gets a button for each range
 * @param {HTMLButtonElement} pause
 */
export function createCharts(byId, ranges, pause) {
  const charts = Object.entries(CHARTS).map(([name, { lines, format }]) => ({
    lines,
    chart: new Chart(byId(`chart-${name}`), byId(`legend-${name}`), lines, format),
  }));
  const buttons = RANGES.map(([name, seconds]) => {
    const button = element('button', name);
    button.type = 'button';
    button.addEventListener('click', () => setRange(seconds));
    return button;
  });
  ranges.replaceChildren(...buttons);
  const setRange = (seconds) => {
    for (const [at, [, range]] of RANGES.entries())
      buttons[at].setAttribute('aria-pressed', String(range === seconds));
    for (const { chart } of charts) chart.range = seconds;
  };
  setRange(RANGES[0][1]);
  pause.addEventListener('click', () => {
    const isPaused = pause.getAttribute('aria-pressed') !== 'true';
    pause.setAttribute('aria-pressed', String(isPaused));
    for (const { chart } of charts) chart.isPaused = isPaused;
  });
  /** Whether nothing is known about the time before the next point. */
  let hasGap = false;
  return {
    /** Reads the points that the broker has kept. */
    async load() {
      // Without the history, the charts begin empty.
      const reply = await request('api/history');
      if (reply?.ok !== true) return;
      const { interval, columns } = reply.body;
      const { times, read } = withGaps(columns.at, interval);
      for (const { chart, lines } of charts)
        chart.load([times, ...lines.map(({ column }) => read(columns[column]))]);
    },
    /** Adds a snapshot. @param isContinuous whether it is from the same broker as the one before */
    add(stats, isContinuous) {
      hasGap ||= !isContinuous;
      // Rates need an earlier sample.
      if (stats.interval === 0) return;
      for (const { chart, lines } of charts) {
        const values = lines.map(({ value }) => value(stats));
        chart.add(stats.at / 1000, values, !hasGap);
      }
      hasGap = false;
    },
  };
}

/** The times in s, and a function that reads a column, both with a point more where some are missing. */
function withGaps(at, interval) {
  const isAfterGap = at.map((time, index) => index > 0 && time - at[index - 1] > interval * MAX_DISTANCE);
  const times = at.flatMap((time, index) =>
    isAfterGap[index] ? [(time + at[index - 1]) / 2000, time / 1000] : [time / 1000],
  );
  const read = (column) => column.flatMap((value, index) => (isAfterGap[index] ? [null, value] : [value]));
  return { times, read };
}
