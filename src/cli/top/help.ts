// The list of keys in `sluice top`.

const KEYS: readonly (readonly [keys: string, effect: string])[] = [
  ['Up, Down', 'one row'],
  ['PageUp, PageDown', 'one page'],
  ['Home, End', 'first, last page'],
  ['r', 'reverse the order'],
  ['/', 'filter; Enter keeps it'],
  ['Escape', 'clear the filter'],
  ['t', 'types, connections'],
  ['space', 'pause, continue'],
  ['?, h', 'help'],
  ['q, Ctrl-C', 'quit'],
];
const KEY_WIDTH = 18;

/** In at most 40 columns. @param sortKeys `n peer` and so on */
export function helpLines(sortKeys: readonly string[]): string[] {
  const sorting = sortKeys.map((text) => {
    const [key = '', label = ''] = text.split(' ');
    return [key, `sort by ${label}`] as const;
  });
  return [...KEYS, ...sorting].map(([keys, effect]) => keys.padEnd(KEY_WIDTH) + effect);
}
