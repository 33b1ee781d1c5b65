// Bar lists: names and values, each with a bar behind it.

import { element } from './formats.js';

/**
 * Shows the entries, the largest first. `key` distinguishes entries with the same name. Existing entries keep their
 * element, so that their bars are animated.
 * @param {HTMLElement} list
 * @param {{ name: string, value: number, text: string, key?: string }[]} entries
 * @param {string} emptyText shown if there are no entries
 */
export function renderBars(list, entries, emptyText) {
  if (entries.length === 0) {
    list.replaceChildren(element('li', emptyText, 'nothing'));
    return;
  }
  const sorted = entries.toSorted((a, b) => b.value - a.value || a.name.localeCompare(b.name));
  const known = new Map([...list.children].map((item) => [item.dataset.key, item]));
  const max = Math.max(...sorted.map(({ value }) => value), 1e-9);
  list.replaceChildren(
    ...sorted.map(({ name, value, text, key = name }) => {
      const item = known.get(key) ?? barOf(name, key);
      item.querySelector('.bar').style.width = `${(value / max) * 100}%`;
      item.querySelector('.value').textContent = text;
      return item;
    }),
  );
}

/** @param {string} name @param {string} key */
function barOf(name, key) {
  const item = element('li');
  item.dataset.key = key;
  item.append(element('div', '', 'bar'), element('span', name), element('span', '', 'value'));
  return item;
}
