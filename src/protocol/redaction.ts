// The sample of a refused message that subscribers of `rejected` get: its first bytes, with whatever
// looks like a secret blanked. Works on text, since a refused message may not even be JSON.

/** How much of a message a sample shows, in bytes. */
export const SAMPLE_BYTES = 256;

const BLANK = '"***"';
const SECRET_WORD = '[^"]*(?:token|secret|passw|authoriz|credential|cookie|private|api_?-?key)[^"]*';
/** A key that sounds secret, and its value: a string, or all up to the next separator. The end may be cut off. */
const SECRET_MEMBER = new RegExp(
  String.raw`("${SECRET_WORD}"\s*:\s*)(?:"(?:[^"\\]|\\.)*(?:"|\\?$)|\[[^\]]*(?:\]|$)|\{[^}]*(?:\}|$)|[^",}\]]+)`,
  'gis',
);
/** Secrets inside of other strings: URL parameters, Authorization headers, GitLab's own token prefixes. */
const SECRET_TEXT = /((?:token|secret|password|key)=|bearer\s+|basic\s+)[^\s"&,;\\]+|gl[a-z]{2,8}-[\w-]+/gi;

/** The sample of a message's bytes. */
export function redactedSample(message: Buffer): string {
  return message
    .toString('utf8', 0, Math.min(message.length, SAMPLE_BYTES))
    .replace(SECRET_MEMBER, (_, key: string) => key + BLANK)
    .replace(SECRET_TEXT, (_, prefix: string | undefined) => `${prefix ?? ''}***`);
}
