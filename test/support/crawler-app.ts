// A small web application as it was written against the in-process server that `sluice/drop-in` replaces: classes of
// handlers, middleware, a status page. Only the import is changed. `npm run typecheck` checks it against the types.

import {
  type ConnectionPool,
  ConnectionState,
  type CrawlerMessage,
  createSocketServer,
  type MessageHandler,
  type MessageMiddleware,
  type MessageProcessingResult,
  type MessageRouter,
  type SocketConnection,
  type SocketServer,
  type SocketServerConfig,
  type WebAppMessage,
} from 'sluice/drop-in';

/** A row of the application's database: an interface of its own, which it sends as it is. */
export interface JobRow {
  id: string;
  entityType: 'project' | 'group' | 'user' | 'issue' | 'merge_request' | 'areas';
  entityId: string;
  gitlabUrl: string;
  accessToken: string;
}

export class JobTable {
  readonly queued: JobRow[] = [];
  readonly status = new Map<string, string>();
  readonly discovered: string[] = [];

  async getAvailableJobs(limit: number): Promise<JobRow[]> {
    return this.queued.splice(0, limit);
  }
}

class HeartbeatHandler implements MessageHandler {
  canHandle(message: CrawlerMessage): boolean {
    return message.type === 'heartbeat';
  }

  async handle(message: CrawlerMessage, connection: SocketConnection): Promise<MessageProcessingResult> {
    if (message.type !== 'heartbeat') return { success: false, error: 'not a heartbeat' };
    connection.metadata.lastHeartbeat = new Date();
    connection.metadata.tags = { ...connection.metadata.tags, status: message.data.systemStatus };
    return { success: true, data: { acknowledged: true, rss: message.data.memoryUsage?.rss } };
  }

  getPriority(): number {
    return 100;
  }
}

class JobRequestHandler implements MessageHandler<{ jobs_sent: number }> {
  private readonly table: JobTable;

  constructor(table: JobTable) {
    this.table = table;
  }

  canHandle(message: CrawlerMessage): boolean {
    return message.type === 'job_request';
  }

  async handle(
    _message: CrawlerMessage,
    connection: SocketConnection,
  ): Promise<MessageProcessingResult<{ jobs_sent: number }>> {
    const jobs = (await this.table.getAvailableJobs(5)).filter((job) => job.entityType !== 'areas');
    const response = {
      type: 'job_response' as const,
      timestamp: new Date().toISOString(),
      data: { jobs },
    };
    await connection.send(response);
    return { success: true, data: { jobs_sent: jobs.length } };
  }

  getPriority(): number {
    return 95;
  }
}

class JobStatusHandler implements MessageHandler {
  private readonly table: JobTable;

  constructor(table: JobTable) {
    this.table = table;
  }

  canHandle(message: CrawlerMessage): boolean {
    return ['job_started', 'job_progress', 'job_completed', 'job_failed'].includes(message.type);
  }

  async handle(message: CrawlerMessage, _connection: SocketConnection): Promise<MessageProcessingResult> {
    if (!message.jobId) return { success: false, error: `Missing jobId in ${message.type}` };
    if (message.type === 'job_progress') {
      const progress = message.data as {
        processed: number;
        total?: number;
        resumeState?: { currentPage?: number };
      };
      this.table.status.set(message.jobId, `${progress.processed}/${progress.total ?? '?'}`);
    } else {
      this.table.status.set(message.jobId, message.type);
    }
    return { success: true, data: { updated: true } };
  }

  getPriority(): number {
    return 90;
  }
}

class DiscoveryHandler implements MessageHandler {
  private readonly table: JobTable;

  constructor(table: JobTable) {
    this.table = table;
  }

  canHandle(message: CrawlerMessage): boolean {
    return message.type === 'jobs_discovered';
  }

  async handle(message: CrawlerMessage): Promise<MessageProcessingResult> {
    if (message.type === 'jobs_discovered') {
      for (const { namespace_path, priority } of message.data.discovered_jobs) {
        this.table.discovered.push(`${namespace_path}:${priority.toFixed()}`);
      }
    }
    return { success: true };
  }

  getPriority(): number {
    return 0;
  }
}

class TokenRefreshHandler implements MessageHandler {
  private readonly router: MessageRouter;

  constructor(router: MessageRouter) {
    this.router = router;
  }

  canHandle(message: CrawlerMessage): boolean {
    return message.type === 'token_refresh_request';
  }

  async handle(message: CrawlerMessage, connection: SocketConnection): Promise<MessageProcessingResult> {
    const response: WebAppMessage = {
      type: 'token_refresh_response',
      timestamp: new Date().toISOString(),
      ...(message.jobId && { jobId: message.jobId }),
      data: {
        accessToken: 'glpat-refreshed-token',
        expiresAt: new Date(Date.now() + 3_600_000).toISOString(),
        refreshSuccessful: true,
      },
    };
    const sent = await this.router.sendMessage(response, connection);
    return sent.success ? { success: true, data: { refreshed: true } } : sent;
  }

  getPriority(): number {
    return 80;
  }
}

export class AuditMiddleware implements MessageMiddleware {
  name = 'audit';
  priority = 5;
  readonly log: string[] = [];

  async beforeProcess(
    message: CrawlerMessage,
    _connection: SocketConnection,
  ): Promise<CrawlerMessage | null> {
    this.log.push(`received ${message.type}`);
    return null;
  }

  async afterProcess(result: MessageProcessingResult, message: CrawlerMessage): Promise<void> {
    const count = result.data?.jobs_sent;
    this.log.push(`${message.type}: ${result.success}${count === undefined ? '' : ` (${count} jobs)`}`);
  }

  async beforeSend(message: WebAppMessage): Promise<WebAppMessage | null> {
    return message.type === 'token_refresh_response' ? { ...message, job_id: 'audited' } : null;
  }

  async afterSend(message: WebAppMessage): Promise<void> {
    this.log.push(`sent ${message.type}`);
  }
}

export interface CrawlerApp {
  server: SocketServer;
  table: JobTable;
  audit: AuditMiddleware;
  events: string[];
  statusPage: () => Record<string, unknown>;
}

export async function startApp(config: Partial<SocketServerConfig>): Promise<CrawlerApp> {
  const server = createSocketServer({
    maxConnections: 3,
    logLevel: 'error',
    heartbeatInterval: 2000,
    ...config,
  });
  const table = new JobTable();
  const audit = new AuditMiddleware();
  const { router } = server;
  router.registerHandler('heartbeat', new HeartbeatHandler());
  router.registerHandler('job_request', new JobRequestHandler(table));
  for (const type of ['job_started', 'job_progress', 'job_completed', 'job_failed']) {
    router.registerHandler(type, new JobStatusHandler(table));
  }
  router.registerHandler('jobs_discovered', new DiscoveryHandler(table));
  router.registerHandler('token_refresh_request', new TokenRefreshHandler(router));
  router.addMiddleware(audit);
  router.addMiddleware({ name: 'plain', priority: 1, beforeProcess: async () => null });

  const events: string[] = [];
  const pool: ConnectionPool = server.connectionPool;
  pool.on('connection_added', ({ connection }) => {
    connection.on('connected', (event) => {
      if (event.type === 'connected') events.push('connected');
    });
    connection.on('disconnected', (event) => events.push(`disconnected: ${event.reason}`));
    connection.on('error', (event) => events.push(event.error.message));
  });

  await server.start();
  return { server, table, audit, events, statusPage: () => statusPage(server, table) };
}

function statusPage(server: SocketServer, table: JobTable): Record<string, unknown> {
  const status = server.getStatus();
  const stats = server.getConnectionStats();
  const progress = server.getAggregateProgress();
  return {
    socketServerRunning: status.isRunning,
    uptime: Math.round(status.uptime / 1000),
    maxConnections: status.config.maxConnections,
    crawlerConnections: stats.active,
    totalConnections: stats.total,
    completion: progress ? progress.overall_completion : null,
    crawlers: server.connectionPool
      .getAllConnections()
      .filter((connection) => connection.getState() === ConnectionState.ACTIVE)
      .map(({ metadata }) => metadata.tags?.status),
    jobs: Object.fromEntries(table.status),
  };
}
