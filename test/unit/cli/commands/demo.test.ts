import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ask } from '../../../support/admin.js';
import { temporaryFolder } from '../../../support/broker.js';
import { sluice } from '../../../support/cli.js';

interface Stats {
  readonly connections: { readonly capacity: number };
  readonly totals: { readonly messagesReceived: number };
}

/** What the broker of a demo tells of itself. */
async function statsAt(admin: string): Promise<Stats> {
  return JSON.parse((await ask(admin, '/api/stats')).body) as Stats;
}

describe('sluice demo', () => {
  test('shows a broker at work, and sums up', async () => {
    const run = sluice(['demo', '--crawlers', '3', '--rate', '6000', '--duration', '2', '--workers', '1']);
    expect(await run.exited).toBe(0);
    expect(run.stdout).toContain('3 crawlers');
    const numbers = /checked +([\d,]{4,}) messages, ([1-9]\d*) of them rejected/.exec(run.stdout) ?? [];
    const [checked, rejected] = numbers.slice(1).map((text) => Number(text.replaceAll(',', '')));
    expect(run.stdout).toMatch(/job_progress +[\d,]+/);
    const subscriber = Number(/subscriber +([\d,]+)/.exec(run.stdout)?.[1]?.replaceAll(',', ''));
    expect(subscriber).toBeGreaterThan(0);
    expect(subscriber).toBe((checked ?? 0) - (rejected ?? 0));
    expect(run.stderr).toBe('');
  });

  // That all crawlers connect is tested in test/soak/demo.soak.ts.
  test('has room for all crawlers, fails when its peers exit early, and leaves nothing behind', async () => {
    const folder = temporaryFolder();
    const admin = join(temporaryFolder(), 'admin.sock');
    // With the subscriber, one more than a broker has room for by default.
    const fleet = ['--crawlers', '1024', '--duration', '60', '--workers', '1'];
    const run = sluice(['demo', ...fleet, '--admin', admin], { TMPDIR: folder });
    await run.says('The dashboard');
    expect((await statsAt(admin)).connections.capacity).toBeGreaterThanOrEqual(1025);
    // Before the crawlers connect, which costs much.
    process.kill(run.childPid('demo-peers'), 'SIGKILL');
    expect(await run.exited).toBe(1);
    expect(run.stderr).toMatch(/^sluice: Error: the (subscriber|fleet) exited early with SIGKILL\n$/);
    expect(readdirSync(folder)).toEqual([]);
  });

  test('as fast as it goes, ends on SIGINT', async () => {
    const admin = join(temporaryFolder(), 'admin.sock');
    const fleet = ['--crawlers', '2', '--rate', '0', '--workers', '1'];
    const run = sluice(['demo', ...fleet, '--admin', admin]);
    await run.says('until Ctrl-C');
    await run.says('The dashboard');
    await expect
      .poll(async () => (await statsAt(admin)).totals.messagesReceived, { interval: 50 })
      .toBeGreaterThan(5000);
    run.child.kill('SIGINT');
    expect(await run.exited).toBe(0);
    const rate = (name: string) =>
      Number(
        new RegExp(`^ {2}${name} +([\\d,]+) messages/s$`, 'm').exec(run.stdout)?.[1]?.replaceAll(',', ''),
      );
    expect(rate('average')).toBeGreaterThan(0);
    expect(rate('peak')).toBeGreaterThanOrEqual(rate('average'));
  });
});
