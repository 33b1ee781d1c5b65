// Bar lists: names and values, each with a bar behind it.

import { createList, element, setText } from './elements.js';

/** The entry of an empty list. */
const NOTHING = { key: '', name: '', value: 0, text: '' };

/**
 * @param {HTMLElement} list
 * @param {string} emptyText shown if there are no entries
 * @returns a function that shows these entries, the largest first: `{ name, value, text, key }`. `key` distinguishes
 *   entries with the same name; it may be omitted.
 */
export function createBars(list, emptyText) {
  const show = createList(list, {
    keyOf: ({ name, key = name }) => key,
    create: (entry) => (entry === NOTHING ? element('li', emptyText, 'nothing') : barOf(entry)),
    update: (item, { text, width }) => {
      if (width === undefined) return;
      item.querySelector('.bar').style.width = `${width}%`;
      setText(item.querySelector('.value'), text);
    },
  });
  return (entries) => {
    const sorted = entries.toSorted((a, b) => b.value - a.value || a.name.localeCompare(b.name));
    const max = Math.max(...sorted.map(({ value }) => value), 1e-9);
    const bars = sorted.map((entry) => ({ ...entry, width: (entry.value / max) * 100 }));
    show(bars.length === 0 ? [NOTHING] : bars);
  };
}

function barOf({ name }) {
  const item = element('li');
  item.append(element('div', '', 'bar'), element('span', name), element('span', '', 'value'));
  return item;
}
