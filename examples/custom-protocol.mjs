// A custom protocol: a web crawler with two messages, `page_fetched` and `fetch_page`. Their schemas and rules are
// in custom-protocol-schemas.mjs; the workers validate every message against them before it reaches a handler.
//
//   node examples/custom-protocol.mjs https://example.com/
//   echo '{"type":"page_fetched","url":"https://example.com/","status":200,"bytes":5,"links":["https://example.com/a"]}' |
//     nc -NU /tmp/sluice.sock        # answers {"type":"fetch_page","url":"https://example.com/a"}
//
// Crawlers connect to SLUICE_SOCKET_PATH (default: Sluice's default path). The program prints it: give it to nc.

import { SOCKET_CONFIG, SocketServer } from 'sluice';

const schemas = new URL('./custom-protocol-schemas.mjs', import.meta.url);
// Without warnings, because rejected messages are printed below.
const server = new SocketServer({ ...SOCKET_CONFIG, schemas, logLevel: 'error' }, { defaultHandlers: false });

const start = process.argv[2] ?? 'https://example.com/';
const { host } = new URL(start);
const seen = new Set([start]);
const todo = [];

server.router.registerHandler('page_fetched', {
  // Ignores pages of other hosts.
  canHandle: ({ message }) => new URL(message.url).host === host,
  async handle({ message }, { reply }) {
    console.log(`${message.status} ${message.url}`);
    for (const link of message.links) {
      if (seen.has(link) || new URL(link).host !== host) continue;
      seen.add(link);
      todo.push(link);
    }
    const url = todo.shift();
    if (url !== undefined) await reply({ type: 'fetch_page', url });
  },
});
server.manager.on('rejected', ({ code, messageType, issues }) => {
  const details = issues.map(({ path, message }) => `${path} ${message}`).join('; ');
  console.log(`rejected: ${code} ${messageType ?? ''} ${details}`.trimEnd());
});
server.on('handler_error', ({ phase, event }) => console.error(`${phase} of ${event?.type} failed`));

await server.start();
console.log(`crawling ${start}, crawlers: ${server.getStatus().address}`);
process.once('SIGTERM', () => server.stop());
process.once('SIGINT', () => server.stop());
