// The sample of a rejected message for subscribers of `rejected`: its first bytes, with anything that looks like a
// secret masked. Works on text, since a rejected message may not be JSON. In doubt, it masks more.

/** Size of a sample, in bytes of the message. */
export const SAMPLE_BYTES = 256;

const MASK = '***';
const WORD = '(?:token|secret|passw|pwd|authoriz|credential|cookie|private|session|api_?-?key)';
/**
 * The name of a secret; {@link SEPARATOR} matches quotes and escapes after it. It is searched only where a name begins,
 * and matched as a whole by a backreference, so that the time is linear. With `[\w-]*WORD[\w-]*` it was cubic: 5 ms
 * for 256 bytes.
 */
const NAME = String.raw`(?<![\w-])(?=(?<run>[\w-]+))(?=[\w-]*?${WORD})\k<run>`;
const SEPARATOR = String.raw`\\*["']?\s*(?::|=|%3D)\s*`;
/** A value: a string up to its closing quote, a list or object up to the end of the sample, or an unquoted word. */
const VALUE = [
  String.raw`"(?:[^"\\]|\\.)*(?:"|\\?$)`,
  String.raw`(?<quote>\\+"|\\*')(?:(?!\k<quote>).)*(?:\k<quote>|$)`,
  '[[{].*',
  String.raw`(?:(?:bearer|basic|token)\s+)?[^\s,;&}\])"'\\]+`,
].join('|');
/** @internal */
export const SECRET_MEMBER = new RegExp(`(${NAME}${SEPARATOR})(?:${VALUE})`, 'gis');
/** Secrets without a name: credentials in headers and URLs, and tokens with GitLab's prefixes. */
const SECRET_TEXT = /(\b(?:bearer|basic)\s+)[^\s"',;&\\]+|(:\/\/)[^\s/"'@]+@|\bgl[a-z]{2,8}-[\w-]+/gi;

/** The sample of a message's bytes. */
export function redactedSample(message: Buffer): string {
  return message
    .toString('utf8', 0, Math.min(message.length, SAMPLE_BYTES))
    .replace(SECRET_MEMBER, (found, name: string) => {
      const isString = found[name.length] === '"';
      return name + (isString ? `"${MASK}"` : MASK);
    })
    .replace(SECRET_TEXT, (_, scheme?: string, url?: string) =>
      url === undefined ? (scheme ?? '') + MASK : `${url}${MASK}@`,
    );
}
