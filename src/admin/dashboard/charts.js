// A line chart of up to an hour, drawn by uPlot. Its legend shows the latest values, or those under the pointer or the
// cursor that the arrow keys move.

import { element, setText } from './elements.js';
import { formatClock } from './formats.js';
// Served from the package uplot.
import uPlot from './uPlot.esm.js';

/** The time that a chart keeps, and the least that it shows, in s. */
const MAX_WINDOW = 3600;
const MIN_WINDOW = 60;
/** Distances of the time labels, in s: whole seconds, so that no two labels are the same. */
const LABEL_STEPS = [5, 10, 15, 30, 60, 120, 300, 600, 900, 1800];
/** Charts with this key show the values of the same time. */
const SYNC = 'sluice';

const scheme = matchMedia('(prefers-color-scheme: dark)');

/** The current value of a colour in the style sheet. @param {string} name */
function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/**
 * A chart that fills an element.
 *
 * @typedef {{ name: string, color: string, isDashed?: boolean }} Line `color` is a name from the style sheet, without its
 *   dashes
 */
export class Chart {
  #container;
  #label;
  #lines;
  #format;
  /** The times in s since 1970, then the values of each line. */
  #data;
  /** The part of the data that is drawn: a copy, so that it stays as it is while the chart is paused. */
  #shown;
  #plot;
  #values;
  #time = element('time');
  #range = MIN_WINDOW;
  #isPaused = false;
  /** The time that the arrow keys have moved to. */
  #selected;

  /**
   * @param {HTMLElement} container
   * @param {HTMLElement} legend a list
   * @param {Line[]} lines
   * @param {(value: number) => string} format
   */
  constructor(container, legend, lines, format) {
    this.#container = container;
    this.#label = container.getAttribute('aria-label');
    this.#lines = lines;
    this.#format = format;
    this.#data = [[], ...lines.map(() => [])];
    this.#shown = this.#data;
    this.#values = lines.map(({ name, color: lineColor }) => {
      const item = element('li', name);
      item.dataset.color = lineColor;
      const value = element('span', '', 'value');
      item.append(value);
      legend.append(item);
      return value;
    });
    const item = element('li', '', 'time');
    item.append(this.#time);
    legend.append(item);
    this.#plot = this.#draw();
    new ResizeObserver(() =>
      this.#plot.setSize({ width: container.clientWidth, height: container.clientHeight }),
    ).observe(container);
    scheme.addEventListener('change', () => this.#plot.redraw(false, true));
    container.addEventListener('keydown', (event) => {
      if (this.#move(event.key)) event.preventDefault();
    });
    container.addEventListener('blur', () => this.#select(undefined));
    container.addEventListener('pointermove', () => {
      this.#selected = undefined;
    });
  }

  /**
   * Replaces all points that are not newer than these.
   * @param {(number | null)[][]} columns times in s, then the values of each line; null: a gap
   */
  load(columns) {
    const latest = columns[0].at(-1) ?? 0;
    const first = this.#data[0].findIndex((time) => time > latest);
    const newer = this.#data.map((column) => (first === -1 ? [] : column.slice(first)));
    this.#data = columns.map((column, index) => [...column, ...newer[index]]);
    this.#show();
  }

  /**
   * Adds a point to each line. Unless `isContinuous`, the lines have a gap before it.
   * @param {number} time in s since 1970
   * @param {(number | null)[]} values
   */
  add(time, values, isContinuous) {
    const [times] = this.#data;
    const latest = times.at(-1);
    // Times must ascend: if the broker's clock was set back, the lines begin again.
    if (latest >= time) for (const column of this.#data) column.length = 0;
    else if (latest !== undefined && !isContinuous)
      this.#push(
        (latest + time) / 2,
        this.#lines.map(() => null),
      );
    this.#push(time, values);
    const expired = times.findIndex((at) => at >= time - MAX_WINDOW);
    for (const column of this.#data) column.splice(0, expired);
    this.#show();
  }

  /** @param {number} seconds the time that is shown, up to the latest point */
  set range(seconds) {
    this.#range = seconds;
    this.#show();
  }

  /** While it is paused, it stays as it is. */
  set isPaused(isPaused) {
    this.#isPaused = isPaused;
    this.#show();
  }

  #push(time, values) {
    for (const [index, value] of [time, ...values].entries()) this.#data[index].push(value);
  }

  #show() {
    if (!this.#isPaused) {
      const [times] = this.#data;
      const first = times.findIndex((at) => at >= times.at(-1) - this.#range);
      this.#shown = this.#data.map((column) => column.slice(Math.max(0, first)));
      this.#plot.setData(this.#shown);
    }
    if (this.#selected === undefined) this.#showValues();
    else this.#select(this.#selected);
  }

  /** Shows the values at the cursor, or the latest ones. */
  #showValues() {
    const [times] = this.#shown;
    const { idx } = this.#plot.cursor;
    const at = idx ?? times.length - 1;
    const texts = this.#lines.map((_, index) => {
      const value = this.#shown[index + 1][at] ?? null;
      return value === null ? 'unknown' : this.#format(value);
    });
    for (const [index, text] of texts.entries()) setText(this.#values[index], text);
    const time = idx === null || times[at] === undefined ? '' : formatClock(times[at] * 1000);
    setText(this.#time, time);
    const values = this.#lines.map(({ name }, index) => `${name} ${texts[index]}`);
    this.#container.setAttribute(
      'aria-label',
      `${this.#label}${time && ` at ${time}`}: ${values.join(', ')}`,
    );
  }

  /** Moves the cursor by a key. @returns whether the key does that */
  #move(key) {
    const [times] = this.#shown;
    const last = times.length - 1;
    const at = this.#plot.cursor.idx ?? last + 1;
    const targets = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: last };
    if (key === 'Escape') this.#select(undefined);
    else if (Object.hasOwn(targets, key)) this.#select(times[Math.min(last, Math.max(0, targets[key]))]);
    else return false;
    return true;
  }

  #select(time) {
    const [times] = this.#shown;
    this.#selected = time >= times[0] ? time : undefined;
    const left = this.#selected === undefined ? -10 : this.#plot.valToPos(this.#selected, 'x');
    // Also in the other charts.
    this.#plot.setCursor({ left, top: this.#selected === undefined ? -10 : 0 }, true, true);
    this.#showValues();
  }

  #draw() {
    const axis = {
      stroke: () => color('--quiet'),
      grid: { stroke: () => color('--line'), width: 1 },
      ticks: { show: false },
      font: '12px system-ui, sans-serif',
    };
    const [{ clientWidth: width, clientHeight: height }, lines] = [this.#container, this.#lines];
    const start = (first, latest) => Math.min(first ?? 0, (latest ?? 0) - MIN_WINDOW);
    return new uPlot(
      {
        width,
        height,
        legend: { show: false },
        cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 }, sync: { key: SYNC } },
        hooks: { setCursor: [() => this.#plot && this.#showValues()] },
        // Leaves room for half of the last time label.
        padding: [8, 28, 0, 0],
        scales: {
          x: { range: (_, first, latest) => [start(first, latest), latest ?? 0] },
          y: { range: (_, __, highest) => [0, Math.max(highest * 1.15, Number.MIN_VALUE) || 1] },
        },
        axes: [
          { ...axis, size: 28, space: 64, incrs: LABEL_STEPS, values: (_, times) => times.map(labelOf) },
          { ...axis, size: 64, space: 40, values: (_, values) => values.map(this.#format) },
        ],
        series: [
          {},
          ...lines.map((line) => ({
            label: line.name,
            stroke: () => color(`--${line.color}`),
            width: 2,
            // Dashed, so that two overlapping lines are both visible.
            ...(line.isDashed ? { dash: [7, 5] } : {}),
            points: { show: false },
            ...(lines.length < 3 && line === lines[0] ? { fill: () => `${color(`--${line.color}`)}1c` } : {}),
          })),
        ],
      },
      this.#data,
      this.#container,
    );
  }
}

/** @param {number} seconds since 1970 */
function labelOf(seconds) {
  return formatClock(seconds * 1000);
}
