// Serialises messages as crawlers in other languages do: the same values with different spacing, key order and escapes.

type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** Writes like Python's `json.dumps`: a space after each comma and colon, ASCII only. */
export function pythonDumps(message: object): string {
  const write = (value: Json): string => {
    if (typeof value === 'string') return asciiString(value);
    if (typeof value !== 'object' || value === null) return JSON.stringify(value);
    if (Array.isArray(value)) return `[${value.map(write).join(', ')}]`;
    const members = Object.entries(value).map(([key, item]) => `${asciiString(key)}: ${write(item)}`);
    return `{${members.join(', ')}}`;
  };
  return write(message as Json);
}

function asciiString(text: string): string {
  return JSON.stringify(text).replace(
    /[\u007f-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** Writes like Go's `encoding/json` for maps: sorted keys, HTML's special characters escaped. */
export function goMarshal(message: object): string {
  const sort = (value: Json): Json => {
    if (typeof value !== 'object' || value === null) return value;
    if (Array.isArray(value)) return value.map(sort);
    const members = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
    return Object.fromEntries(members.map(([key, item]) => [key, sort(item)]));
  };
  return JSON.stringify(sort(message as Json)).replace(
    /[<>&\u2028\u2029]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** Adds keys that no schema knows, the same ones to every message. */
export function withExtraKeys<M extends { readonly data: object }>(message: M): M {
  const trace = { id: '4bf92f3577b34da6', isSampled: false };
  return { ...message, host: 'crawler-7.example.com', data: { ...message.data, elapsedMs: 12.5, trace } };
}

/**
 * Changes the order of all keys.
 * @param random returns numbers in [0, 1)
 */
export function withShuffledKeys<M extends object>(message: M, random: () => number): M {
  const shuffle = (value: Json): Json => {
    if (typeof value !== 'object' || value === null) return value;
    if (Array.isArray(value)) return value.map(shuffle);
    const members = Object.entries(value).map(([key, item]) => ({ key, item, order: random() }));
    members.sort((a, b) => a.order - b.order);
    return Object.fromEntries(members.map(({ key, item }) => [key, shuffle(item)]));
  };
  // Has the same keys and values.
  return shuffle(message as Json) as M;
}
