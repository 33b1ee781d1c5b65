// A web application with the crawlers' server in the same process: an HTTP API for crawlers and jobs, in the style of
// Express.
//
//   node examples/web-app.mjs
//   node examples/crawler.mjs crawler-1    # in another terminal: waits for a job
//   curl localhost:8080/crawlers
//   curl -d '{"job_id":"job-1","job_type":"crawl_project","gitlab_host":"https://gitlab.example.com","access_token":"a-real-token"}' localhost:8080/crawlers/crawler-1/jobs
//   curl localhost:8080/jobs/job-1
//
// Crawlers connect to SLUICE_SOCKET_PATH (default: Sluice's default path). PORT is the port of the web server (default: 8080;
// 0: any free port). With Express, replace `app` below with `express()`; the handlers stay unchanged.

import { createServer } from 'node:http';
import { SluiceError, SOCKET_CONFIG, SocketServer } from 'sluice';

const crawlers = new SocketServer({ ...SOCKET_CONFIG, logLevel: 'warn' });
crawlers.router.registerHandler('job_failed', ({ message }) => {
  console.log(`job ${message.jobId} failed: ${message.data.errorType ?? 'no type'}`);
});
crawlers.on('handler_error', ({ phase, event }) => console.error(`${phase} of ${event?.type} failed`));

const app = miniExpress();

app.get('/status', (_request, response) => {
  const { state, connections, uptime, handlers } = crawlers.getStatus();
  response.json({ state, connections, uptime, handlers });
});
app.get('/crawlers', (_request, response) => response.json(crawlers.fleet.crawlers));
app.get('/connections', (_request, response) => {
  response.json(
    crawlers.getConnectionStats().connections.map(({ id, role, state }) => ({ id, role, state })),
  );
});
app.get('/jobs', (_request, response) => response.json(crawlers.fleet.jobs));
app.get('/jobs/:id', (request, response) => {
  const job = crawlers.fleet.getJob(request.params.id);
  if (job === undefined) response.status(404).json({ error: 'no such job' });
  else response.json(job);
});
app.post('/crawlers/:id/jobs', async (request, response) => {
  await crawlers.sendToCrawler(request.params.id, {
    type: 'job_assignment',
    timestamp: new Date().toISOString(),
    data: request.body,
  });
  response.status(202).json({ assigned: request.body.job_id });
});

await crawlers.start();
const web = createServer(app.handle).listen(Number(process.env.PORT ?? 8080), '127.0.0.1', () => {
  console.log(`web: http://127.0.0.1:${web.address().port} crawlers: ${crawlers.getStatus().address}`);
});
process.once('SIGTERM', stop);
process.once('SIGINT', stop);

async function stop() {
  web.close();
  web.closeAllConnections();
  await crawlers.stop();
}

/** The subset of Express that this file needs. */
function miniExpress() {
  const routes = [];
  const add = (method) => (path, handler) => {
    const pattern = new RegExp(`^${path.replaceAll(/:(\w+)/g, '(?<$1>[^/]+)')}$`);
    routes.push({ method, pattern, handler });
  };
  const statuses = {
    NO_RECIPIENT: 404,
    INVALID_MESSAGE: 400,
    SLOW_CONSUMER: 503,
    SEND_TIMEOUT: 504,
    CONNECTION_CLOSED: 504,
  };
  const handle = async (request, response) => {
    response.status = (code) => Object.assign(response, { statusCode: code });
    response.json = (value) => {
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify(value));
    };
    if (!URL.canParse(request.url, 'http://localhost'))
      return response.status(400).json({ error: 'BAD_REQUEST' });
    const { pathname } = new URL(request.url, 'http://localhost');
    const route = routes.find(({ method, pattern }) => method === request.method && pattern.test(pathname));
    if (route === undefined) return response.status(404).json({ error: 'no such page' });
    try {
      const params = route.pattern.exec(pathname).groups ?? {};
      request.params = Object.fromEntries(
        Object.entries(params).map(([name, value]) => [name, decodeURIComponent(value)]),
      );
      if (request.method === 'POST') request.body = await readJson(request);
      await route.handler(request, response);
    } catch (error) {
      const code = error instanceof SluiceError ? error.code : 'BAD_REQUEST';
      const isClientError = error instanceof SyntaxError || error instanceof URIError;
      // The message of a SluiceError names the problem and its path, never a value.
      response
        .status(statuses[code] ?? (isClientError ? 400 : 500))
        .json({ error: code, message: error instanceof SluiceError ? error.message : undefined });
    }
  };
  return { get: add('GET'), post: add('POST'), handle };
}

async function readJson(request) {
  const chunks = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size > 100_000) throw new SyntaxError('too long');
    chunks.push(chunk);
  }
  return JSON.parse(Buffer.concat(chunks).toString());
}
