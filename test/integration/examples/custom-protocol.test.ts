import { expect, test } from 'vitest';
import { startExample } from '../../support/example.js';
import { line } from '../../support/messages.js';
import { Peer } from '../../support/peer.js';

test('the custom protocol checks its own messages, and answers them', async () => {
  const args = ['https://example.com/'];
  const { run, socketPath } = await startExample('custom-protocol.mjs', 'crawling', { args });
  const crawler = await Peer.connect(socketPath);
  const page = { type: 'page_fetched', url: 'https://example.com/', status: 200, bytes: 5 };
  crawler.write(
    line({ ...page, links: ['https://example.com/a', 'https://example.com/', 'https://elsewhere.example/'] }),
  );
  expect(await crawler.next('fetch_page')).toEqual({ type: 'fetch_page', url: 'https://example.com/a' });
  await run.says('200 https://example.com/');

  crawler.write(line({ ...page, status: 204 }) + line({ ...page, bytes: -1 }));
  await run.says('rejected: RULE_VIOLATION page_fetched bytes must be 0 when there is no content');
  await run.says('rejected: SCHEMA_VIOLATION page_fetched bytes');
  await crawler.settled();
  expect(crawler.errors).toEqual(['RULE_VIOLATION', 'SCHEMA_VIOLATION']);
  expect(crawler.messages.filter(({ type }) => type === 'fetch_page')).toHaveLength(1);
  run.child.kill('SIGTERM');
  expect(await run.exited).toBe(0);
  expect(run.stderr).toBe('');
  await crawler.close();
});
