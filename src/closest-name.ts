// Finds the name that a misspelt one was probably meant to be.

/** Limit on the edits between a misspelt word and its suggestion, as a number and as a share of the longer one. */
const MAX_EDITS = 3;
const MAX_EDIT_SHARE = 0.4;

/**
 * Finds the name that is closest to a misspelt one. Case and punctuation are ignored.
 * @param names known names by spelling; a name may have several spellings
 * @returns `undefined` if none is close
 */
export function closestName(word: string, names: ReadonlyMap<string, string>): string | undefined {
  const wanted = lettersOf(word);
  let closest: string | undefined;
  let fewest = MAX_EDITS + 1;
  for (const [spelling, name] of names) {
    const known = lettersOf(spelling);
    const length = Math.max(wanted.length, known.length);
    if (Math.abs(wanted.length - known.length) >= fewest) continue;
    const edits = editDistance(wanted, known);
    if (edits >= fewest || edits > length * MAX_EDIT_SHARE) continue;
    closest = name;
    fewest = edits;
  }
  return closest;
}

function lettersOf(text: string): string {
  return text.toLowerCase().replaceAll(/[^a-z0-9]/g, '');
}

/** The Levenshtein distance: the number of letters to insert, delete or replace. */
function editDistance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (let i = 1; i <= from.length; i++) {
    const next = [i];
    for (let j = 1; j <= to.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (from[i - 1] === to[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[to.length] ?? 0;
}
