// The broker, the client and the command in other runtimes than Node.

import { spawn } from 'node:child_process';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { temporaryFolder } from '../../support/broker.js';
import { CliRun, cliScript } from '../../support/cli.js';
import { line, VALID } from '../../support/messages.js';
import { Peer } from '../../support/peer.js';
import { publishedPackage } from '../../support/published.js';
import { share } from '../../support/share.js';
import { missingTools, without } from '../../support/tools.js';

/** Starts a broker, subscribes, and publishes. Its argument is the path of the socket. */
const PROGRAM = `
import { SocketManager } from 'sluice';
import { SluiceClient } from 'sluice/client';
const socketPath = process.argv[2];
const manager = new SocketManager({ socketPath, workers: { threads: 1 }, logLevel: 'warn' });
await manager.start();
const app = new SluiceClient({ socketPath, hello: { role: 'app' } });
const crawler = new SluiceClient({ socketPath, hello: { role: 'crawler', crawlerId: 'c1' } });
await Promise.all([app.connect(), crawler.connect()]);
const events = await app.subscribe({ types: ['job_failed'] });
await crawler.publishAsync(${JSON.stringify(VALID.job_failed)});
for await (const event of events) {
  console.log('received', event.type);
  break;
}
await Promise.all([app.close(), crawler.close()]);
await manager.stop();
console.log('stopped');
`;

describe.each([
  ['bun', []],
  ['deno', ['run', '--allow-all']],
])('%s', (runtime, options) => {
  const missing = missingTools(runtime);
  const folder = share((whenOver) => {
    const path = temporaryFolder(whenOver);
    mkdirSync(join(path, 'node_modules'));
    symlinkSync(publishedPackage(), join(path, 'node_modules/sluice'));
    writeFileSync(join(path, 'package.json'), '{ "type": "module" }');
    writeFileSync(join(path, 'program.mjs'), PROGRAM);
    return path;
  });

  const run = (script: string, ...args: string[]) =>
    new CliRun(spawn(runtime, [...options, script, ...args], { cwd: folder() }));

  test.skipIf(missing.length > 0)(`a broker and clients exchange messages${without(missing)}`, async () => {
    const program = run('program.mjs', join(folder(), 'program.sock'));
    await program.exited;
    expect([program.stdout, program.stderr]).toEqual(['received job_failed\nstopped\n', '']);
  });

  test.skipIf(missing.length > 0)(
    `the command serves with patterns until SIGTERM${without(missing)}`,
    async () => {
      const socketPath = join(folder(), 'command.sock');
      const broker = run(cliScript(), 'serve', '--socket', socketPath, '--workers', '1');
      await broker.says('"msg":"listening"');
      const [app, crawler] = [await Peer.connect(socketPath), await Peer.connect(socketPath)];
      await app.subscribe();
      crawler.write(line(VALID.heartbeat));
      expect(await app.next('heartbeat')).toEqual(VALID.heartbeat);
      await Promise.all([app.close(), crawler.close()]);
      broker.child.kill('SIGTERM');
      expect(await broker.exited).toBe(0);
      expect(broker.stdout).toContain('"msg":"stopped"');
    },
  );
});
