// Runs the programs of docs/getting-started.md.

import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { startPlainBroker, temporaryFolder, until } from '../../support/broker.js';
import { packageRoot, runNode } from '../../support/cli.js';
import { publishedPackage } from '../../support/published.js';

const page = readFileSync(join(packageRoot, 'docs/getting-started.md'), 'utf8');

/** The program that the page tells to save as a file. */
function program(file: string): string {
  const [, text = ''] = new RegExp(`Create \`${file}\`:\n\n\`\`\`js\n([^]*?)\`\`\``).exec(page) ?? [];
  expect(text).not.toBe('');
  return text;
}

test('each of ten crawlers gets the job that it asks for, and the application hears of all', async () => {
  const folder = temporaryFolder();
  const { manager } = await startPlainBroker({ socketPath: join(folder, 'sluice.sock') });
  mkdirSync(join(folder, 'node_modules'));
  symlinkSync(publishedPackage(), join(folder, 'node_modules/sluice'));
  writeFileSync(join(folder, 'app.mjs'), program('app.mjs'));
  const names = Array.from({ length: 10 }, (_, index) => `crawler-${index + 1}`);
  const crawler = program('crawler.mjs');
  const ownName = "process.argv[2] ?? 'crawler-1'";
  expect(crawler).toContain(ownName);
  // In one process, which starts sooner than ten.
  for (const name of names) writeFileSync(join(folder, `${name}.mjs`), crawler.replace(ownName, `'${name}'`));
  writeFileSync(join(folder, 'crawlers.mjs'), names.map((name) => `import './${name}.mjs';\n`).join(''));

  const app = runNode(join(folder, 'app.mjs'), [], {}, folder);
  await until(() => manager.getMetrics().protocol.subscriptions === 1);
  const crawlers = runNode(join(folder, 'crawlers.mjs'), [], {}, folder);
  expect(await crawlers.exited).toBe(0);
  expect(crawlers.stdout.match(/^done$/gm)).toHaveLength(10);
  for (let job = 1; job <= 10; job++) await app.says(`job-${job}: completed by`);
  const completed = [...app.stdout.matchAll(/^(job-\d+): completed by (.+)$/gm)];
  expect(new Set(completed.map(([, job]) => job)).size).toBe(10);
  expect(completed.map(([, , name]) => name).sort()).toEqual(names.toSorted());
  expect(app.stderr + crawlers.stderr).toBe('');
  app.child.kill('SIGTERM');
  await app.exited;
});
