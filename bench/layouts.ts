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
