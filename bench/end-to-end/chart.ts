// The chart in the README: messages per second of each system, as an SVG for light and dark mode.

import type { Throughput } from './measure.js';
import { medianOf, type Report, type Result } from './report.js';

/** Scenarios in the chart. */
const SHOWN = ['4 → 1', '4 → 10'];

const WIDTH = 760;
const LABELS = 170;
const FIGURES = 260;
const ROW = 26;
const BAR = 16;
const TITLE = 34;
const MARGIN = 16;

/** @returns the chart as SVG; `undefined` if its scenarios were not measured */
export function chartOf({ comparisons }: Report): string | undefined {
  const panels = SHOWN.map((name) => comparisons.find((result) => result.name === name));
  if (!panels.every((panel) => panel?.systems.some(({ rounds }) => rounds.length > 0))) return undefined;
  let y = MARGIN;
  const drawn = panels.map((panel) => {
    const { svg, height } = drawPanel(panel as Result<Throughput>, y);
    y += height + MARGIN;
    return svg;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${y}" width="${WIDTH}" height="${y}" role="img" aria-label="Messages per second by system">
<style>
  text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2328 }
  .title { font-weight: 600; font-size: 14px }
  .figure { fill: #59636e }
  .bar { fill: #b6bfc9 }
  .sluice { fill: #0969da }
  .paper { fill: #ffffff }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc }
    .figure { fill: #9198a1 }
    .bar { fill: #4b535d }
    .sluice { fill: #4493f8 }
    .paper { fill: #0d1117 }
  }
</style>
<rect class="paper" width="${WIDTH}" height="${y}" rx="6"/>
${drawn.join('\n')}
</svg>
`;
}

function drawPanel({ name, systems }: Result<Throughput>, top: number): { svg: string; height: number } {
  const rows = systems
    // The relay shows the limit of the machine; nobody would choose between it and the others.
    .filter(({ system, rounds }) => rounds.length > 0 && system !== 'bare relay in C')
    .map(({ system, rounds }) => ({ system, ...medianOf(rounds) }))
    .sort((a, b) => b.messagesPerSecond - a.messagesPerSecond);
  const maximum = Math.max(...rows.map(({ messagesPerSecond }) => messagesPerSecond));
  const lines = rows.map(({ system, messagesPerSecond, cpuPerMillion }, index) => {
    const y = top + TITLE + index * ROW;
    const width = Math.max(1, Math.round((messagesPerSecond / maximum) * (WIDTH - LABELS - FIGURES)));
    const kind = system.startsWith('Sluice') ? 'bar sluice' : 'bar';
    const figures = `${Math.round(messagesPerSecond / 1000).toLocaleString('en-US')},000/s · ${cpuPerMillion.toFixed(2)} CPU-s per million`;
    return [
      `<text x="${LABELS - 10}" y="${y + BAR - 3}" text-anchor="end">${system}</text>`,
      `<rect class="${kind}" x="${LABELS}" y="${y}" width="${width}" height="${BAR}" rx="2"/>`,
      `<text class="figure" x="${LABELS + width + 8}" y="${y + BAR - 3}">${figures}</text>`,
    ].join('');
  });
  const [publishers, subscribers] = name.split(' → ');
  const title = `${publishers} crawlers → ${subscribers} ${subscribers === '1' ? 'subscriber' : 'subscribers'}, messages of 394 bytes; Sluice validates each`;
  return {
    svg: [`<text class="title" x="${MARGIN}" y="${top + 16}">${title}</text>`, ...lines].join('\n'),
    height: TITLE + rows.length * ROW,
  };
}
