import { expect, test } from 'vitest';
import { startPlainBroker, until } from '../../support/broker.js';
import { startExample } from '../../support/example.js';
import { line, VALID } from '../../support/messages.js';

test('the progress board shows jobs, and finds its broker again', async () => {
  const { manager, socketPath, connect } = await startPlainBroker();
  const env = { SOCKET_PATH: socketPath };
  const { run } = await startExample('progress-board.mjs', 'connected', { env });
  await until(() => manager.getMetrics().protocol.subscriptions === 1);
  const crawler = await connect();
  crawler.write(line(VALID.job_request) + line(VALID.job_started) + line(VALID.job_progress));
  crawler.write(line({ ...VALID.job_failed, data: { ...VALID.job_failed.data, errorType: '\x1b[2Jbad' } }));
  await run.says('job-1 failed: ?[2Jbad');
  expect(run.stdout).toContain('job-1 started\njob-1 ██████████░░░░░░░░░░ 5/10\n');

  await manager.stop();
  await run.says('disconnected: SHUTTING_DOWN');
  const next = await startPlainBroker({ socketPath, validation: 'report' });
  await until(() => next.manager.getMetrics().protocol.subscriptions === 1);
  const again = await next.connect();
  const data = { ...VALID.job_progress.data, processed: 11, total: 10 };
  again.write(line({ ...VALID.job_progress, data }) + line(VALID.job_completed));
  await run.says('job-1 completed');
  expect(run.stdout).toContain('job-1 ████████████████████ 11/10\n');
  run.child.kill('SIGTERM');
  expect(await run.exited).toBe(0);
  expect(run.stderr).toBe('');
});
