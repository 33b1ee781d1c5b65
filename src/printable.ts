// Makes text of peers safe to print. Control characters could move the cursor of a terminal or change its state, in one
// byte (C0, DEL) or in two (C1); format characters could reverse the text after them, or be invisible; line separators
// could fake a line.

const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;
/** The same except for newlines and tabs. */
const UNPRINTABLE_IN_LINES = /[^\P{Cc}\n\t]|[\p{Cf}\p{Zl}\p{Zp}]/gu;

/** Replaces unprintable characters, newlines included. @param replacement Default: an escape, such as `\u009b`. */
export function printable(text: string, replacement?: string): string {
  return text.replace(UNPRINTABLE, (character) => replacement ?? escapeOf(character, '\\'));
}

/**
 * Escapes unprintable characters, except for newlines and tabs. JSON stays JSON with the same values: in JSON of one
 * line, these characters occur only in strings.
 * @param backslash begins an escape. Default: one backslash; two keep the escape when the JSON is decoded.
 */
export function printableLines(text: string, backslash = '\\'): string {
  return text.replace(UNPRINTABLE_IN_LINES, (character) => escapeOf(character, backslash));
}

/** JSON with the same value, without unprintable characters. @param indent spaces for each level. Default: one line. */
export function printableJson(value: unknown, indent?: number): string {
  return printableLines(JSON.stringify(value, undefined, indent));
}

/** `\u009b`; one escape for each half of a surrogate pair. */
function escapeOf(character: string, backslash: string): string {
  return character
    .split('')
    .map((unit) => `${backslash}u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
    .join('');
}
