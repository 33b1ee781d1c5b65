// The package's entry `sluice/drop-in`: an in-process socket server's module, by the names of the one it replaces.

import { SOCKET_CONFIG, type SocketServerConfig } from './config.js';
import { createDefaultRouter, MessageRouter } from './message-router.js';
import { SocketServer } from './socket-server.js';

export {
  type ConfigurationManager,
  type ConfigValidationResult,
  configManager,
  SOCKET_CONFIG,
  type SocketServerConfig,
  validateCurrentConfig,
} from './config.js';
export { createDefaultRouter, MessageRouter, type RouterSettings } from './message-router.js';
export {
  type AggregateProgress,
  type DropInSettings,
  type ServerConnectionStats,
  type ServerStatus,
  SocketServer,
} from './socket-server.js';
export {
  type ConnectionEvent,
  type ConnectionEvents,
  type ConnectionMetadata,
  type ConnectionPool,
  ConnectionState,
  type ConnectionStats,
  type CrawlerMessage,
  type MessageHandler,
  type MessageMiddleware,
  type MessageProcessingResult,
  type PoolEvent,
  type PoolEvents,
  type PoolStats,
  type SocketConnection,
  type WebAppMessage,
} from './types.js';

/**
 * Creates a server.
 * @param config overrides the `SOCKET_…` environment variables
 * @throws SluiceError `INVALID_OPTION`
 */
export function createSocketServer(config?: Partial<SocketServerConfig>): SocketServer {
  return new SocketServer(config);
}

let defaultServer: Promise<SocketServer> | undefined;

/**
 * The server of this process: created and started by the first call, and the same one in all later calls, even after
 * `stop`. Listens at the path in the environment variable `SOCKET_PATH`, as it is when the server is created. After a
 * failed start, the next call tries again.
 * @throws SluiceError `INVALID_OPTION`; errors of `server.start`
 */
export function getDefaultSocketServer(): Promise<SocketServer> {
  defaultServer ??= startDefaultServer().catch((error: unknown) => {
    defaultServer = undefined;
    throw error;
  });
  return defaultServer;
}

async function startDefaultServer(): Promise<SocketServer> {
  const server = createSocketServer();
  await server.start();
  return server;
}

export default {
  SocketServer,
  MessageRouter,
  createDefaultRouter,
  createSocketServer,
  config: SOCKET_CONFIG,
};
