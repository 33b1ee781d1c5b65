// The files of deploy/ fit the program and the tools that read them.

import { spawnSync } from 'node:child_process';
import { copyFileSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { resolveOptions } from 'sluice';
import { describe, expect, test } from 'vitest';
import { EXIT } from '#src/cli/common/exit-codes.js';
import { OPTION_SPECS } from '#src/config/sources.js';
import { metricsOfUse, startAdminBroker } from '../../support/admin.js';
import { temporaryFolder } from '../../support/broker.js';
import { packageRoot } from '../../support/cli.js';
import { missingTools, without } from '../../support/tools.js';

const deploy = (name: string) => join(packageRoot, 'deploy', name);
const read = (name: string) => readFileSync(deploy(name), 'utf8');
const missing = missingTools('systemd-analyze');

describe('the systemd units', () => {
  test.skipIf(missing.length > 0)(`pass systemd-analyze verify${without(missing)}`, () => {
    const folder = temporaryFolder();
    const units = ['sluice.service', 'sluice.socket'].map((name) => {
      copyFileSync(deploy(name), join(folder, name));
      return join(folder, name);
    });
    const { status, stdout, stderr } = spawnSync('systemd-analyze', ['verify', '--man=no', ...units], {
      encoding: 'utf8',
      env: { ...process.env, SYSTEMD_UNIT_PATH: `${folder}:` },
    });
    expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: '', stderr: '' });
  });

  test('let a broker of a fleet reach its engine', () => {
    expect(read('sluice.service')).toContain('\nIPAddressDeny=any\n');
    expect(read('sluice-fleet.conf')).toMatch(/^Environment=SLUICE_FLEET=/m);
    expect(read('sluice-fleet.conf')).toMatch(/^IPAddressAllow=\S/m);
  });

  test('start the program where the package has it, and wait longer than it drains', () => {
    const { bin } = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8'));
    expect(read('sluice.service')).toContain(`/node_modules/sluice/${bin.sluice} serve`);
    expect(read('Dockerfile')).toContain(`/opt/sluice/${bin.sluice}`);
    expect(Number(/TimeoutStopSec=(\d+)/.exec(read('sluice.service'))?.[1])).toBeGreaterThan(10);
  });
});

test('the image is healthy if the broker is ready, at the address of its admin server', () => {
  const dockerfile = read('Dockerfile');
  expect(dockerfile).toMatch(/^FROM node:24-slim$/m);
  expect(dockerfile).toMatch(/^HEALTHCHECK (?:.*\\\n)? *CMD \["node", "\S+main\.js", "status"\]$/m);
  expect(dockerfile).toMatch(/^ENV .*SLUICE_ADMIN=127\.0\.0\.1:9464/m);
  expect(dockerfile).toMatch(/^STOPSIGNAL SIGTERM$/m);
  const timeout = Number(/--stop-timeout (\d+)/.exec(dockerfile)?.[1]) * 1000;
  expect(timeout).toBeGreaterThan(resolveOptions({}).drainTimeout);
});

test('the files set only options that there are', () => {
  const known = new Set(OPTION_SPECS.map(({ environment }) => environment));
  for (const name of readdirSync(deploy('.'))) {
    const names = [...read(name).matchAll(/\bSLUICE_[A-Z][A-Z_]*[A-Z]\b/g)].map(([text]) => text);
    expect(names.filter((text) => !known.has(text))).toEqual([]);
  }
});

test('the program starts with any env, without flags of node', () => {
  const { bin } = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8'));
  expect(readFileSync(join(packageRoot, bin.sluice), 'utf8')).toMatch(/^#!\/usr\/bin\/env node\n/);
});

test('the service keeps the folder of its socket, and is not started again with options that are wrong', () => {
  const folder = /^ListenStream=\/run\/(\w+)\//m.exec(read('sluice.socket'))?.[1];
  expect(read('sluice.service')).toContain(`\nRuntimeDirectory=${folder}\nRuntimeDirectoryPreserve=yes\n`);
  expect(read('sluice.service')).toContain(`\nRestartPreventExitStatus=${EXIT.USAGE} ${EXIT.CONFIG}\n`);
});

describe('the alerts', () => {
  test('ask for metrics that a broker has', async () => {
    const body = await metricsOfUse(await startAdminBroker());
    const expressions = read('alerts.yml').matchAll(/expr: (?:>-\n)?((?:.+\n {10}.+)|.+)/g);
    const names = [...expressions].flatMap(([, text = '']) => text.match(/\bsluice_\w+/g) ?? []);
    expect(new Set(names).size).toBeGreaterThan(10);
    for (const name of names) expect(body).toMatch(new RegExp(`^${name}[ {]`, 'm'));
  });

  test('and the scrape configuration are valid, where promtool can tell', () => {
    for (const args of [
      ['check', 'rules', deploy('alerts.yml')],
      ['check', 'config', deploy('prometheus.yml')],
    ]) {
      const { status, stdout, error } = spawnSync('promtool', args, { encoding: 'utf8' });
      if (error === undefined) expect([status, stdout]).toEqual([0, expect.stringContaining('SUCCESS')]);
    }
  });
});

describe('the Grafana dashboard', () => {
  const dashboard = JSON.parse(read('grafana-dashboard.json'));
  const expressions: string[] = dashboard.panels.flatMap((panel: { targets: { expr: string }[] }) =>
    panel.targets.map(({ expr }) => expr),
  );

  test('asks for metrics and labels that a broker has', async () => {
    const body = await metricsOfUse(await startAdminBroker());
    const selectors = expressions.flatMap((text) => [
      ...text.matchAll(/(?:by \(([\w, ]+)\) \(\w*\(?)?\b((?:sluice|nodejs|process)_\w+)\{([^}]*)\}/g),
    ]);
    expect(selectors.length).toBeGreaterThan(expressions.length);
    for (const [text, grouping = '', name = '', matchers = ''] of selectors) {
      const labels = [
        ...grouping.split(', '),
        ...[...matchers.matchAll(/(\w+)=/g)].map(([, label]) => label),
      ];
      const series = body.split('\n').find((row) => new RegExp(`^${name}[ {]`).test(row));
      expect(series, name).toBeDefined();
      // Prometheus adds `instance`.
      for (const label of labels.filter((known) => known !== '' && known !== 'instance')) {
        expect(series, text).toContain(`${label}="`);
      }
    }
  });

  test('has panels that do not lie on each other, with ids of their own', () => {
    const ids = dashboard.panels.map(({ id }: { id: number }) => id);
    expect(new Set(ids).size).toBe(ids.length);
    const cells = new Set<string>();
    for (const { gridPos } of dashboard.panels) {
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++) {
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
          expect(x).toBeLessThan(24);
          expect(cells.has(`${x} ${y}`)).toBe(false);
          cells.add(`${x} ${y}`);
        }
      }
    }
  });

  test('counts with rates and increases only', () => {
    const bare = expressions.filter((text) =>
      /_total\{/.test(text.replaceAll(/(?:rate|increase)\([^)]*\)/g, '')),
    );
    expect(bare).toEqual([]);
  });
});
