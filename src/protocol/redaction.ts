// The sample of a rejected message that subscribers of `rejected` get: its first bytes, with whatever
// looks like a secret blanked. Works on text, since a rejected message may not even be JSON; where it is
// in doubt, it blanks more.

/** How much of a message a sample shows, in bytes. */
export const SAMPLE_BYTES = 256;

const BLANK = '***';
const WORD = '(?:token|secret|passw|pwd|authoriz|credential|cookie|private|session|api_?-?key)';
/**
 * A name that sounds secret, in whatever quotes and escapes, with the sign that its value follows. It is looked for where
 * a name begins only, and taken as a whole by a backreference, so that the time is linear: with `[\w-]*WORD[\w-]*` it
 * was cubic, 5 ms for 256 bytes.
 */
const NAME = String.raw`(?<![\w-])(?=(?<run>[\w-]+))(?=[\w-]*?${WORD})\k<run>`;
const SIGN = String.raw`\\*["']?\s*(?::|=|%3D)\s*`;
/** A value: a quoted string up to its own quote, a list or object to the end of the sample, or a bare word. */
const VALUE = [
  String.raw`"(?:[^"\\]|\\.)*(?:"|\\?$)`,
  String.raw`(?<quote>\\+"|\\*')(?:(?!\k<quote>).)*(?:\k<quote>|$)`,
  '[[{].*',
  String.raw`(?:(?:bearer|basic|token)\s+)?[^\s,;&}\])"'\\]+`,
].join('|');
/** @internal */
export const SECRET_MEMBER = new RegExp(`(${NAME}${SIGN})(?:${VALUE})`, 'gis');
/** Secrets that no name announces: credentials in headers and URLs, GitLab's token prefixes. */
const SECRET_TEXT = /(\b(?:bearer|basic)\s+)[^\s"',;&\\]+|(:\/\/)[^\s/"'@]+@|\bgl[a-z]{2,8}-[\w-]+/gi;

/** The sample of a message's bytes. */
export function redactedSample(message: Buffer): string {
  return message
    .toString('utf8', 0, Math.min(message.length, SAMPLE_BYTES))
    .replace(SECRET_MEMBER, (found, name: string) => {
      const isString = found[name.length] === '"';
      return name + (isString ? `"${BLANK}"` : BLANK);
    })
    .replace(SECRET_TEXT, (_, scheme?: string, url?: string) =>
      url === undefined ? (scheme ?? '') + BLANK : `${url}${BLANK}@`,
    );
}
