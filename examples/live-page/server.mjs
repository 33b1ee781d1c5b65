// A web application that shows jobs live: the crawlers' server in its process, and a page that reads the feed.
//
//   node examples/live-page/server.mjs
//   echo '{"type":"job_started","timestamp":"2026-01-01T00:00:00Z","jobId":"job-1","data":{"entityType":"group"}}' |
//     npx sluice pub                       # in another terminal: a message of a crawler
//
// Crawlers connect to SLUICE_SOCKET_PATH (default: Sluice's default path). PORT is the port of the page (default: 8080;
// 0: any free port). The route of the feed is the place for the application's own login.

import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { SOCKET_CONFIG, SocketServer } from 'sluice';

const crawlers = new SocketServer({ ...SOCKET_CONFIG, logLevel: 'warn' });

const files = {
  '/': [new URL('page.html', import.meta.url), 'text/html; charset=utf-8'],
  '/page.js': [new URL('page.js', import.meta.url), 'text/javascript'],
  '/sluice-feed.js': [import.meta.resolve('sluice/feed'), 'text/javascript'],
};

const web = createServer((request, response) => {
  answer(request, response).catch((error) => {
    console.error('failed to answer a request:', error);
    if (response.headersSent) response.destroy();
    else response.writeHead(500).end();
  });
});

async function answer(request, response) {
  if (!URL.canParse(request.url, 'http://page')) return response.writeHead(400).end();
  const { pathname } = new URL(request.url, 'http://page');
  if (pathname === '/feed') return stream(request, response);
  if (!Object.hasOwn(files, pathname)) return response.writeHead(404).end();
  const [file, type] = files[pathname];
  const content = await readFile(fileURLToPath(file));
  response.writeHead(200, { 'content-type': type }).end(content);
}

/** With a framework whose routes take a Request and return a Response, this is `return crawlers.feed(request)`. */
function stream(request, response) {
  const stopping = new AbortController();
  response.on('close', () => stopping.abort());
  const { signal } = stopping;
  const feed = crawlers.feed(new Request(`http://page${request.url}`, { headers: request.headers, signal }));
  response.writeHead(feed.status, Object.fromEntries(feed.headers));
  Readable.fromWeb(feed.body)
    .on('error', () => response.destroy())
    .pipe(response);
}

await crawlers.start();
web.listen(Number(process.env.PORT ?? 8080), () =>
  console.log(`page: http://localhost:${web.address().port}`),
);
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, async () => {
    web.close();
    await crawlers.stop();
    web.closeAllConnections();
  });
}
