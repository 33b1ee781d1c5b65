// docs/getting-started.md is followed step by step: its commands run as written, each block in a terminal of its own, and
// what the page shows appears on one of them.

import { chmodSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { temporaryFolder, until } from '../../support/broker.js';
import { type CliRun, cliScript, inTerminal, packageRoot } from '../../support/cli.js';
import { publishedPackage } from '../../support/published.js';
import { screenOf } from '../../support/screen.js';
import { missingTools, without } from '../../support/tools.js';

const missing = missingTools('python3', 'bash');
/** Wide enough for the longest line of the page. */
const SIZE = { lines: 50, columns: 500 };
/** Commands that do not end by themselves, and what they print when they are ready. */
const READY: readonly [command: string, text: string][] = [
  ['sluice serve', 'listening'],
  ['sluice sub', 'receiving all messages'],
  ['node crawler.mjs', 'asking for a job'],
  ['node app.mjs', 'waiting for crawlers'],
];

interface Block {
  readonly language: string;
  readonly text: string;
  /** The file that the sentence before it tells to create. */
  readonly file: string | undefined;
}

function blocksOf(page: string): Block[] {
  return [...page.matchAll(/(?:Create `([\w.]+)`:\n\n)?```(\w*)\n(.*?)\n```/gs)].map(
    ([, file, language = '', text = '']) => ({ file, language, text }),
  );
}

/** Durations differ from run to run. */
function comparable(text: string): string {
  return text.replace(/\d+\.\d\d s\b/g, '… s');
}

/** A folder in which `npx sluice` and `import 'sluice/client'` find this package, as if it was installed there. */
function folderWithPackage(): string {
  const folder = temporaryFolder();
  mkdirSync(join(folder, 'node_modules'));
  symlinkSync(publishedPackage(), join(folder, 'node_modules/sluice'));
  const npx = join(folder, 'npx');
  writeFileSync(npx, `#!/bin/sh\nshift\nexec "${process.execPath}" "${cliScript()}" "$@"\n`);
  chmodSync(npx, 0o755);
  return folder;
}

test.skipIf(missing.length > 0)(
  `the steps of docs/getting-started.md do what the page shows${without(missing)}`,
  async () => {
    const folder = folderWithPackage();
    const blocks = blocksOf(readFileSync(join(packageRoot, 'docs/getting-started.md'), 'utf8'));
    const terminals: CliRun[] = [];
    const screens = new Map<CliRun, { readonly stdout: string; readonly shown: string }>();
    const shownBy = (terminal: CliRun): string => {
      const { stdout } = terminal;
      const last = screens.get(terminal);
      if (last?.stdout === stdout) return last.shown;
      const shown = comparable(screenOf(stdout).join('\n'));
      screens.set(terminal, { stdout, shown });
      return shown;
    };
    let outputs = 0;
    for (const { language, text, file } of blocks) {
      if (file !== undefined) writeFileSync(join(folder, file), text);
      else if (language === '') {
        await until(() => terminals.some((terminal) => shownBy(terminal).includes(comparable(text))));
        outputs++;
      } else if (!text.includes('npm ')) {
        // Without patterns, the broker starts sooner.
        const script = `export PATH="${folder}:$PATH" SLUICE_PATTERNS=off SLUICE_WORKERS_THREADS=1\n${text}`;
        const terminal = inTerminal(['bash', '-c', script], SIZE, folder);
        terminals.push(terminal);
        const running = READY.find(([command]) => text.includes(command));
        if (running === undefined) await terminal.exited;
        else await terminal.says(running[1]);
      }
    }
    expect(outputs).toBe(5);
    expect(terminals.length).toBe(7);
  },
);
