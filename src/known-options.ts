// Rejects options that do not exist: a misspelt one would have no effect, without a word.

import { closestName } from './closest-name.js';
import { SluiceError } from './errors.js';

/**
 * The error for an option that does not exist.
 * @param names known names by spelling
 * @param prefix of the name in the error. Default: none.
 */
export function unknownOption(name: string, names: ReadonlyMap<string, string>, prefix = ''): SluiceError {
  const closest = closestName(name, names);
  const hint = closest === undefined ? '' : `; did you mean ${closest}?`;
  return new SluiceError('INVALID_OPTION', `${prefix}${name}: unknown option${hint}`);
}

/**
 * @param known an object with all keys that options may have
 * @param prefix as in {@link unknownOption}
 * @throws SluiceError `INVALID_OPTION` if they have another key
 */
export function requireKnownOptions(options: object, known: object, prefix = ''): void {
  const unknown = Object.keys(options).find((name) => !Object.hasOwn(known, name));
  if (unknown === undefined) return;
  throw unknownOption(unknown, new Map(Object.keys(known).map((name) => [name, name])), prefix);
}
