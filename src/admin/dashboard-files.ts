// The dashboard's static files. Each has its own route: a request's path is never used as the path of a file.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Reply } from './reply.js';

const HTML = 'text/html; charset=utf-8';
const CSS = 'text/css; charset=utf-8';
const SCRIPT = 'text/javascript; charset=utf-8';

/** Content types of the files in dashboard/. */
const OWN_FILES = {
  'page.html': HTML,
  'page.css': CSS,
  'table.css': CSS,
  'page.js': SCRIPT,
  'bars.js': SCRIPT,
  'chart-group.js': SCRIPT,
  'charts.js': SCRIPT,
  'connection-table.js': SCRIPT,
  'connections.js': SCRIPT,
  'dead-letter.js': SCRIPT,
  'dead-letters.js': SCRIPT,
  'detail.js': SCRIPT,
  'drift.js': SCRIPT,
  'durable-log.js': SCRIPT,
  'elements.js': SCRIPT,
  'fleet.js': SCRIPT,
  'jobs.js': SCRIPT,
  'pages.js': SCRIPT,
  'rejection-groups.js': SCRIPT,
  'rejections.js': SCRIPT,
  'tail.js': SCRIPT,
  'test-message.js': SCRIPT,
  'token.js': SCRIPT,
  'work-groups.js': SCRIPT,
};

/** Content types of the files from the package uplot. */
const LIBRARY_FILES = {
  'uPlot.min.css': CSS,
  'uPlot.esm.js': SCRIPT,
};

const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  // The empty icon.
  'img-src data:',
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

/**
 * The replies by path: the page at `/`, which refers to the others by relative URLs, so that it also works behind a path
 * prefix. Read when this module is loaded, all at once: after an upgrade, a running broker serves the old files until
 * it is restarted.
 */
export const DASHBOARD_FILES: ReadonlyMap<string, Reply> = readFiles();

function readFiles(): Map<string, Reply> {
  const { resolve } = createRequire(import.meta.url);
  const files = new Map<string, Reply>();
  for (const [name, type] of Object.entries(OWN_FILES)) {
    const path = name === 'page.html' ? '/' : `/dashboard/${name}`;
    files.set(path, fileReply(readFileSync(new URL(`./dashboard/${name}`, import.meta.url)), type));
  }
  const feed = readFileSync(new URL('../browser/sluice-feed.js', import.meta.url));
  files.set('/sluice-feed.js', fileReply(feed, SCRIPT));
  // Also the command line's.
  files.set(
    '/dashboard/formats.js',
    fileReply(readFileSync(new URL('../formats.js', import.meta.url)), SCRIPT),
  );
  for (const [name, type] of Object.entries(LIBRARY_FILES)) {
    files.set(`/dashboard/${name}`, fileReply(readFileSync(resolve(`uplot/dist/${name}`)), type));
  }
  return files;
}

function fileReply(body: Buffer, type: string): Reply {
  return {
    status: 200,
    body,
    headers: {
      'content-type': type,
      'content-security-policy': POLICY,
      // Caches must revalidate each file, so that the page and its scripts are always of the same version.
      'cache-control': 'no-cache',
      etag: `"${createHash('sha256').update(body).digest('base64url')}"`,
    },
  };
}
