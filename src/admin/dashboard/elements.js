// Elements of the page. What is on the page is updated in place, so that it can be selected and copied meanwhile.

/** Escapes control and format characters, such as those that reverse the text after them. @param {string} text */
function printable(text) {
  return text.replace(
    /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu,
    (character) => `\\u{${character.codePointAt(0).toString(16)}}`,
  );
}

/** Creates an element with text and a class. @param {string} tag @param {string} text @param {string} className */
export function element(tag, text = '', className = '') {
  const created = document.createElement(tag);
  // Names come from peers: never interpret them as HTML.
  created.textContent = printable(text);
  if (className !== '') created.className = className;
  return created;
}

/** Sets the text of an element, only if it has changed: a screen reader would announce the rest again. */
export function setText(target, text) {
  const { firstChild } = target;
  const shown = printable(text);
  if (firstChild === null) target.textContent = shown;
  else if (firstChild.data !== shown) firstChild.data = shown;
}

/** Sets the class of an element, only if it has changed. */
export function setClass(target, className) {
  if (target.className !== className) target.className = className;
}

/**
 * Keeps one child of `parent` for each item. Children of items with the same key are kept and updated. While text in
 * them is selected, they also keep their order: moving an element would end the selection.
 * @param {HTMLElement} parent without other children
 * @param {{ keyOf: (item) => string, create: (item) => HTMLElement, update: (child: HTMLElement, item) => void }} parts
 * @returns a function that shows these items, in order
 */
export function createList(parent, { keyOf, create, update }) {
  let children = new Map();
  return (items) => {
    const next = new Map();
    for (const item of items) {
      const key = keyOf(item);
      const child = children.get(key) ?? create(item);
      update(child, item);
      next.set(key, child);
    }
    for (const [key, child] of children) if (!next.has(key)) child.remove();
    children = next;
    if (isSelected(parent)) {
      for (const child of children.values()) if (child.parentNode !== parent) parent.append(child);
    } else arrange(parent, children.values());
  };
}

/** The only row of a table that is empty. */
export function nothingRow(text, columns) {
  const row = element('tr');
  const cell = element('td', text, 'text tone-idle');
  cell.colSpan = columns;
  row.append(cell);
  return row;
}

/**
 * A list of terms and their values.
 * @param {HTMLElement} list a `dl`
 * @returns a function that shows these pairs: `[name, value]`
 */
export function createFigures(list) {
  return createList(list, {
    keyOf: ([name]) => name,
    create: ([name]) => {
      const pair = element('div');
      pair.append(element('dt', name), element('dd'));
      return pair;
    },
    update: (pair, [, value]) => setText(pair.lastChild, value),
  });
}

function arrange(parent, children) {
  let at = parent.firstChild;
  for (const child of children) {
    if (child === at) at = at.nextSibling;
    else parent.insertBefore(child, at);
  }
}

function isSelected(parent) {
  const selection = getSelection();
  if (selection === null || selection.isCollapsed) return false;
  return parent.contains(selection.anchorNode) || parent.contains(selection.focusNode);
}
