// Masks anything that looks like a secret in the sample of a rejected message, which subscribers of `rejected` receive.
// Works on text, since a rejected message may not be JSON, and may quote any other notation. In doubt, it masks more.
//
// The text is searched with its escapes resolved. Two kinds of rules find what to mask:
//
// - TEXT_RULES: what has the form of a secret, whatever its name.
// - Names: each word that names a secret and is followed by a separator has its value masked, up to where the value ends.
//
// All of it takes linear time: rules begin only where their first character cannot be part of a longer match, and no
// value is scanned twice.

import { type UnescapedText, unescapeText } from './unescaped-text.js';

/** Size of a sample, in bytes of the message. */
export const SAMPLE_BYTES = 256;

const MASK = '***';

/** Each masks its match, without group 1, which stays readable. */
const TEXT_RULES: readonly RegExp[] = [
  // A key in PEM or SSH2: up to its last line, or the end of the text. That of PuTTY: to the end.
  /((?<!-)-{4,5} ?BEGIN )[\s\S]*?(?:-----END [^-\n]*-----|$)/gi,
  /(private-lines:)[\s\S]+/gi,
  // HTTP credentials. The scheme and the credentials may be on two lines.
  /(\b(?:bearer|basic)[\s:=+]+["'`]?)[^\s"'`,;&<>]+/gi,
  // User and password in a URL, up to the last @. At the end of the text, the host may be yet to come.
  /(\/\/)[^\s"'`<>/?#]+(?=@|$)/g,
  // The same without a scheme, as in `bot:password@host`.
  /((?<![\w.+-])[\w.+-]+:)[^\s"'`<>/@:,]+(?=@[\w-])/g,
  // The same with slashes in the password, or without a host: what follows a colon and is no port.
  /(\/\/[^\s"'`<>/?#@:]*:)(?!\d{1,5}(?:[/?#\s"'`,;)\]}]|$))(?:[^\s"'`<>@]{1,128}(?=@)|[^\s"'`<>@]+)/g,
  // Tokens that begin with the prefix of GitLab (also of later kinds), GitHub, Slack, Stripe, Google, npm or PyPI.
  /()(?<![a-z\d])(?:gl(?!obal|ass-|ib-)[a-z]{2,8}-|GR1348941|gh[a-z]_|github_pat_|xox[a-z]-|[rs]k[_-]live[_-]|AIza|ya29\.|npm_(?=[a-z\d]{10})|pypi-)[\w.-]+/gi,
  // JSON web tokens, also without their end.
  /()(?<![A-Za-z\d])eyJ[\w+/=.-]+/g,
  // AWS: IDs of access keys.
  /()(?<![A-Za-z\d])A(?:KIA|SIA|BIA|CCA)\w+/g,
  // Long random text: capital letters, small ones and digits, as in a base64 line of a key. No hash in hex, no UUID.
  /()(?<![A-Za-z\d+/])(?=[a-z\d+/]*[A-Z])(?=[A-Z\d+/]*[a-z])(?=[A-Za-z+/]*\d)[A-Za-z\d+/]{40,}={0,2}/g,
  // Short flags: `mysql -p secret`, `-psecret`, `curl -u user:secret`, and in a list of arguments.
  /((?<![\w-])-[pu]["']?(?:\s*,)?\s*["']?)[^\s"',]+/g,
  /(--(?:proxy-)?user["']?[=,\s]+["']?)[^\s"',]+/g,
  // SQL.
  /(\bidentified by\s+["']?)[^\s"';]+/gi,
];

/**
 * What may be part of a name. Dots and hyphens join names: `spring.datasource.password`, `X-Api-Key`, `--password`. So does
 * a space in labels for people: `API key`.
 */
const NAME = /[\w.-]+(?: keys?(?![\w.-]))?/gi;
/** Parts of names of secrets. */
const SECRET_PART =
  /token|secret|passw|pass[ _.-]?phrase|passcode|pwd|pswd|authoriz|credential|cookie|private|session|signature|(?:api|access|auth|encryption|signing|master|deploy|ssh|rsa|gpg|pgp|priv|account|shared|client|license|storage)[ _.-]?keys?(?![a-z])/;
/** Names of secrets that are common in longer words, so that they must be whole words of a name: `DB_PASS`, not `passed`. */
const SECRET_WORD =
  /(?<![a-z\d])(?:pass|pw|psw|creds?|auth|oauth2?|sid|sig|t?otp|pat|jwt|bearer|csrf|xsrf|hmac)(?![a-z\d])/;
/** Names of numbers about secrets: `tokens_used`, `token_expires_in`. */
const COUNTER =
  /tokens$|(?<![a-z])(?:used|count|total|limit|max|min|remaining|left|expires?|expiry|ttl|age|timeout|at|in|size|length|num)(?![a-z])/;
/** Names of what another member of the same object names: `{"key":"DB_PASSWORD","value":"…"}`. */
const VALUE_NAME =
  /(?<![a-z\d])(?:values?(?![a-z\d])|(?:v|vals?|contents?|raw|plaintext|string|default|current)$)/;
/** Passphrases contain spaces, and cookies several values. */
const WHOLE_LINE = /pass|pwd|cookie/;

/** Between a name and its value: in JSON, Ruby, PHP, YAML, a URL; `s:8:` in serialized PHP; in a form; in a call. */
const SEPARATOR = /[\s"'`\])]*(?:=>|->|:=|[:=]+)\s*|["'];s:\d+:|["']\r?\n\r?\n|\((?=["'`])/y;
/** Between the name and the value in a list of pairs, and between an argument and the next. */
const COMMA = /["'`]?\s*,\s*/y;
/** Between a flag and its argument. */
const SPACE = /\s+/y;
/** Between a name and a value in prose, if the value is no ordinary word. */
const PROSE = /["'`]?\s+(?:is\s+|was\s+)?["'`]?(?=[^\s"'`,]*(?:\d|[a-z][A-Z]))/y;
/** The rest of an opening tag. */
const TAG = /[^<>]*>/y;
/** The same from the end of an attribute's value. */
const END_OF_ATTRIBUTE = /["'][^<>]{0,256}(?<!\/)>/y;
/** What shows that a text is a `.netrc`, in which only spaces separate names from values. */
const NETRC = /\b(?:machine|login)\s/i;

/** A quote, after a prefix that some languages have, `b'…'`, or after a call: `SecretStr('…')`. */
const QUOTE = /(?:[a-z@$]{0,2}|[\w.]+\(\s*)["'`]/iy;
/** A list, object or call, or a block of YAML: masked up to the end of the text. */
const BLOCK = /[[{(|>!]|-\s/y;
/** Never a secret. */
const LITERAL = /(?:true|false|null|nil|none|undefined|\[\s*\]|\{\s*\})(?=\s*(?:[,;}\])&"'`\n]|$))/iy;
const NUMBER = /-?\d+(?:\.\d+)?(?=\s*(?:[,;}\])&"'`\n]|$))/y;
/** An unquoted value. Punctuation inside a word belongs to it, but for `&`, which ends a parameter of a URL. */
const WORD = /(?:(?:bearer|basic|token|negotiate|ntlm)\s+["'`]?)?<?(?:[^\s,;&}\])"'`<]|[,;}\])'<](?=\w))+/iy;
/** Schemes of credentials that consist of several parts. */
const MULTIPART_SCHEME = /(?:digest|hawk|oauth|signature|mac|aws4-hmac-sha256)\s/iy;
/** The quote that ends a string of JSON. */
const END_OF_STRING = /"\s*(?:[:}\]]|$|,\s*(?:["{[\d-]|true|false|null))/y;

/** The sample of a message's bytes. */
export function redactedSample(message: Buffer): string {
  const isCut = message.length >= SAMPLE_BYTES;
  const text = message.toString('utf8', 0, Math.min(message.length, SAMPLE_BYTES));
  // Of ASCII in UTF-16, the sample shows the letters.
  return redact(text.replaceAll('\0', ''), isCut);
}

/**
 * Masks what looks like a secret.
 * @param isCut whether the text is only the beginning of a longer one. Default: false.
 */
export function redact(text: string, isCut = false): string {
  return new Redactor(text).redact(isCut);
}

class Redactor {
  readonly #source: string;
  readonly #unescaped: UnescapedText;
  #text: string;
  /** 1 for each character of the unescaped text that is masked. */
  readonly #masked: Uint8Array;
  /** End of the last value that was masked by its name: up to there, no value is scanned again. */
  #maskedUpTo = 0;
  /** Whether a name of a secret is a value itself, such as that of `key` in `{"key":"DB_PASSWORD"}`. */
  #namesSecret = false;
  /** What completes a string that is cut. */
  #end = '';

  constructor(source: string) {
    this.#source = source;
    this.#unescaped = unescapeText(source);
    this.#text = this.#unescaped.text;
    this.#masked = new Uint8Array(this.#text.length);
  }

  redact(isCut: boolean): string {
    this.#maskText(isCut);
    if (this.#text.includes('+')) {
      // In the data of a form, a plus stands for a blank. What either reading masks is masked.
      this.#text = this.#text.replaceAll('+', ' ');
      this.#maskedUpTo = 0;
      this.#maskText(isCut);
    }
    return this.#result();
  }

  #maskText(isCut: boolean): void {
    for (const rule of TEXT_RULES) {
      for (const { 0: found, 1: readable = '', index } of this.#text.matchAll(rule)) {
        this.#mask(index + readable.length, index + found.length);
      }
    }
    const values = this.#maskNamed();
    // If the text is cut or broken, the name of the value may be beyond its end.
    if (this.#namesSecret || isCut || !/[}\]]\s*$/.test(this.#text)) this.#maskValues(values);
  }

  /** Masks the values of names of secrets. @returns the starts of values that other members may name */
  #maskNamed(): number[] {
    const text = this.#text;
    const isNetrc = NETRC.test(text);
    const values: number[] = [];
    NAME.lastIndex = 0;
    for (let found = NAME.exec(text); found !== null; found = NAME.exec(text)) {
      const { 0: spelled, index } = found;
      const end = index + spelled.length;
      const name = inWords(spelled);
      if (SECRET_PART.test(name) || SECRET_WORD.test(name) || (isNetrc && name === 'account')) {
        const before = this.#before(index);
        const isTag = before === '<' || (before === ':' && text[end] === '>');
        if (isTag) NAME.lastIndex = this.#maskElement(end);
        else {
          const value = this.#valueOf(name, before, index, end, isNetrc);
          if (value !== undefined && value >= this.#maskedUpTo) {
            NAME.lastIndex = Math.max(end, this.#maskValue(value, name));
          }
        }
      } else if (VALUE_NAME.test(name)) {
        const value = text[index - 1] === '<' ? endOf(TAG, text, end) : endOf(SEPARATOR, text, end);
        if (value !== undefined) values.push(value);
      }
    }
    return values;
  }

  #maskValues(starts: readonly number[]): void {
    this.#maskedUpTo = 0;
    for (const start of starts) {
      const isHarmless = !this.#namesSecret && endOf(NUMBER, this.#text, start) !== undefined;
      if (isHarmless || start < this.#maskedUpTo) continue;
      const isElement = this.#text[start - 1] === '>' && this.#text[start - 2] !== '=';
      if (isElement) this.#maskContent(start);
      else this.#maskValue(start, '');
    }
  }

  /** Start of the value of a name of a secret, or `undefined` if it has none. */
  #valueOf(name: string, before: string, start: number, end: number, isNetrc: boolean): number | undefined {
    const text = this.#text;
    const value = endOf(SEPARATOR, text, end);
    if (value !== undefined) return value;
    // The name is itself the value of a member.
    if (/[:=>/]/.test(before)) {
      this.#namesSecret = true;
      const content = before === '=' ? endOf(END_OF_ATTRIBUTE, text, end) : undefined;
      if (content !== undefined && content >= this.#maskedUpTo) this.#maskContent(content);
    } else {
      const next = endOf(COMMA, text, end);
      const isItem = /["'`]/.test(text[start - 1] ?? '') || /[[(]/.test(before);
      if (next !== undefined && isItem && !this.#isKey(next)) return next;
    }
    if (name.startsWith('-') || (isNetrc && /^(?:pass|account)/.test(name))) return endOf(SPACE, text, end);
    return COUNTER.test(name) ? undefined : endOf(PROSE, text, end);
  }

  /** Masks the content of an element that is named like a secret. @returns where the search continues */
  #maskElement(end: number): number {
    this.#namesSecret = true;
    const text = this.#text;
    const content = endOf(TAG, text, end);
    return content === undefined || text[content - 2] === '/' ? end : this.#maskContent(content);
  }

  /** Masks the content of an element up to the next closing tag. @returns where that begins */
  #maskContent(start: number): number {
    const close = this.#text.indexOf('</', start);
    return this.#maskUpTo(start, close === -1 ? this.#text.length : close);
  }

  /** The last character before a name, apart from blanks and quotes. */
  #before(start: number): string {
    let at = start - 1;
    while (at >= 0 && ' \t\r\n"\'`'.includes(this.#text[at] ?? '')) at--;
    return this.#text[at] ?? '';
  }

  /** Whether a string is the key of a member. */
  #isKey(start: number): boolean {
    const quote = endOf(QUOTE, this.#text, start);
    return quote !== undefined && endOf(SEPARATOR, this.#text, this.#stringEnd(quote - 1) - 1) !== undefined;
  }

  /**
   * Masks a value.
   * @param name in words; empty if it is not known
   * @returns where the search for names continues: after the value, or at its start if it may contain names
   */
  #maskValue(start: number, name: string): number {
    const text = this.#text;
    if (endOf(LITERAL, text, start) !== undefined) return start;
    if (COUNTER.test(name) && endOf(NUMBER, text, start) !== undefined) return start;
    const afterQuote = endOf(QUOTE, text, start);
    if (afterQuote !== undefined) return this.#maskString(start, afterQuote - 1);
    const isBlock = endOf(BLOCK, text, start) !== undefined || this.#beginsLine(start);
    if (isBlock) return this.#maskUpTo(start, text.length);
    const isLine =
      (WHOLE_LINE.test(name) && /[:\s]/.test(text[start - 1] ?? '')) ||
      endOf(MULTIPART_SCHEME, text, start) !== undefined;
    if (isLine) return this.#maskUpTo(start, this.#lineEnd(start));
    this.#maskUpTo(start, endOf(WORD, text, start) ?? start);
    return start;
  }

  /** Whether there is a newline between a name and its value: in YAML, the value is a block then. */
  #beginsLine(start: number): boolean {
    let at = start - 1;
    while (' \t\r'.includes(this.#text[at] ?? '?')) at--;
    return this.#text[at] === '\n';
  }

  /** The next newline, or the quote that ends the string of JSON around this place. */
  #lineEnd(start: number): number {
    const { depths } = this.#unescaped;
    let at = start;
    for (; at < this.#text.length && this.#text[at] !== '\n'; at++) {
      if (depths[at] === 0 && endOf(END_OF_STRING, this.#text, at) !== undefined) break;
    }
    return at;
  }

  /** Masks a string. That of JSON keeps its quotes, so that the sample stays JSON. */
  #maskString(start: number, quote: number): number {
    const end = this.#stringEnd(quote);
    const isClosed = end < this.#text.length || this.#text[end - 1] === this.#text[quote];
    const isJson = start === quote && this.#text[quote] === '"' && this.#unescaped.depths[quote] === 0;
    if (!isJson) return this.#maskUpTo(start, end);
    this.#maskUpTo(quote + 1, isClosed ? end - 1 : end);
    if (!isClosed) this.#end = '"';
    return end;
  }

  /** End of the string that begins with this quote, or the end of the text if it is cut. */
  #stringEnd(quote: number): number {
    const text = this.#text;
    const { depths } = this.#unescaped;
    const mark = text[quote] ?? '';
    const depth = depths[quote] ?? 0;
    if (text.startsWith(mark.repeat(3), quote)) {
      const close = text.indexOf(mark.repeat(3), quote + 3);
      return close === -1 ? text.length : close + 3;
    }
    for (let at = text.indexOf(mark, quote + 1); at !== -1; at = text.indexOf(mark, at + 1)) {
      // A quote before a letter is an apostrophe, or the string is broken. SQL doubles the quotes in a string.
      const isInside = (depths[at] ?? 0) > depth || /\w/.test(text[at + 1] ?? '');
      if (isInside) continue;
      if (mark !== "'" || text[at + 1] !== mark) return at + 1;
      at++;
    }
    return text.length;
  }

  #maskUpTo(start: number, end: number): number {
    this.#mask(start, end);
    this.#maskedUpTo = Math.max(this.#maskedUpTo, end);
    return end;
  }

  #mask(start: number, end: number): void {
    this.#masked.fill(1, start, end);
  }

  #result(): string {
    const { offsets } = this.#unescaped;
    const parts: string[] = [];
    for (let at = 0; at < this.#masked.length; ) {
      const isMasked = this.#masked[at];
      let end = this.#masked.indexOf(isMasked === 1 ? 0 : 1, at);
      if (end === -1) end = this.#masked.length;
      parts.push(isMasked === 1 ? MASK : this.#source.slice(offsets[at], offsets[end]));
      at = end;
    }
    return parts.join('') + this.#end;
  }
}

/** A name in lower case, with its words separated: `accessToken` becomes `access_token`. */
function inWords(name: string): string {
  return /[A-Z]/.test(name) ? name.replace(/([a-z\d])([A-Z])/g, '$1_$2').toLowerCase() : name;
}

/** Where the match of a sticky expression at this place ends. */
function endOf(expression: RegExp, text: string, at: number): number | undefined {
  expression.lastIndex = at;
  return expression.test(text) ? expression.lastIndex : undefined;
}
