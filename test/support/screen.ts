// What a terminal shows after a program's output: carriage returns, cursor movements and erasures are applied.

// biome-ignore lint/suspicious/noControlCharactersInRegex: terminals are controlled by escape sequences
const PARTS = /\u001b\[\??([\d;]*)([A-Za-z])|[\r\n]|[^\u001b\r\n]+/g;

/** The lines of a screen that never scrolls, without trailing spaces. */
export function screenOf(output: string): string[] {
  const lines: string[] = [''];
  let [row, column] = [0, 0];
  for (const [part, number = '', command] of output.matchAll(PARTS)) {
    if (part === '\r') column = 0;
    else if (part === '\n') row++;
    else if (command === 'A') row = Math.max(0, row - Number(number || 1));
    else if (command === 'H') [row, column] = [0, 0];
    else if (command === 'J') lines.splice(row + 1, lines.length);
    if (command === 'J' || command === 'K') lines[row] = (lines[row] ?? '').slice(0, column);
    while (lines.length <= row) lines.push('');
    if (command !== undefined || part === '\r' || part === '\n') continue;
    const line = (lines[row] ?? '').padEnd(column);
    lines[row] = line.slice(0, column) + part + line.slice(column + part.length);
    column += part.length;
  }
  return lines.map((line) => line.trimEnd());
}
