// The public API: the exports of the package `sluice`.

export { type ResolvedOptions, resolveOptions, type SluiceOptions } from './config/config.js';
export { DEFAULT_SOCKET_PATH } from './config/defaults.js';
export type { Size, SizeUnit, Time, TimeUnit } from './config/quantities.js';
export { SOCKET_CONFIG } from './config/socket-config.js';
export {
  type BroadcastResult,
  type ConnectionFilter,
  ConnectionPool,
  type PoolEvents,
  type PoolHooks,
  type PoolStatistics,
} from './connection/connection-pool.js';
export type {
  ConnectionMetadata,
  ConnectionState,
  ConnectionStatistics,
  DeliveryState,
  DropCause,
  PipelineTotals,
} from './connection/connection-state.js';
export type { FlowStatistics } from './connection/flow-control.js';
export {
  type HealthHost,
  type HealthIssue,
  HealthMonitor,
  type HealthOptions,
  type HealthStatus,
  type HealthSubject,
  type HealthSummary,
  type IssueSeverity,
} from './connection/health-monitor.js';
export type { LatencyCounts } from './connection/latency-histogram.js';
export {
  type FrameReceiver,
  MessageBuffer,
  type MessageBufferOptions,
  type MessageBufferStatistics,
} from './connection/message-buffer.js';
export { type CustomMessage, MessageEvent } from './connection/message-event.js';
export type {
  PresenceEvent,
  RejectedEvent,
  ServerEvents,
  ServerState,
  ServerStatus,
} from './connection/server-events.js';
export type { Rates, ServerMetrics } from './connection/server-metrics.js';
export { type ConnectionEvents, SocketConnection } from './connection/socket-connection.js';
export type { DispatchStatistics } from './dispatch/dispatcher.js';
export type { DriftFact } from './dispatch/verdict.js';
export {
  ERRORS,
  type ErrorCategory,
  type ErrorCode,
  type ErrorEntry,
  type ErrorSeverity,
  SluiceError,
  type WireErrorCode,
} from './errors.js';
export type { FleetStatistics } from './fleet/fleet.js';
export type { ForwarderStatistics } from './fleet/forwarder.js';
export type { FleetHost, HostReport } from './fleet/host-table.js';
export type { DeadLetterStatistics } from './log/dead-letters.js';
export type { LogStatistics } from './log/message-log.js';
export { type FrameRange, Slab, SlabPool } from './memory/slab-pool.js';
export type { Extension } from './messages/extension.js';
export type { Issue, ReportIssue, Rule } from './messages/issues.js';
export {
  type MessageDirection,
  MessageRegistry,
  type MessageType,
  type SchemaModule,
} from './messages/message-registry.js';
export type { FallbackRecipient, MessageTraits } from './messages/message-traits.js';
export type { Message, MessageMap, OutgoingMessage, OverflowPolicy, PeerRole } from './messages/messages.js';
export { AccessControl, type AuthTokens } from './protocol/access.js';
export type { DriftEntry, DriftSource } from './protocol/drift-report.js';
export type { FrameSink } from './protocol/frame-sink.js';
export {
  MessageParser,
  type ParsedMessage,
  type ParserOptions,
} from './protocol/message-parser.js';
export {
  type Acceptance,
  MessageValidator,
  type Rejection,
  type ValidationResult,
  type ValidationStatistics,
  type ValidatorOptions,
} from './protocol/message-validator.js';
export type { Peer } from './protocol/peer.js';
export type { PresenceChange } from './protocol/presence.js';
export { ProtocolHandler } from './protocol/protocol-handler.js';
export type { ProtocolStatistics } from './protocol/protocol-statistics.js';
export type { RejectedMessage, RejectionDetails } from './protocol/rejected-message.js';
export type { WorkGroupStatistics } from './protocol/work-group.js';
export type { DashboardHandler, DashboardOptions } from './server/dashboard-handler.js';
export {
  DEFAULT_HANDLER_PRIORITY,
  type FleetEvent,
  type FleetEvents,
  type JobEvent,
  type JobStateEvent,
} from './server/default-handlers.js';
export type {
  BatchDurableHandler,
  DurableGap,
  DurableHandler,
  DurableHandlerSettings,
  SingleDurableHandler,
} from './server/durable-handler.js';
export { DurableMessage } from './server/durable-message.js';
export type { CrawlerRecord, FleetLimits, FleetState, JobRecord } from './server/fleet-state.js';
export type {
  BatchHandler,
  EventOf,
  HandledType,
  HandlerContext,
  HandlerFunction,
  HandlerSettings,
  MessageHandler,
  SentMessage,
} from './server/handler.js';
export type { HandlerPhase, TypeStatistics } from './server/handling.js';
export {
  type HandlerFailure,
  MessageRouter,
  type RouterEvents,
  type RouterOptions,
  type RouterStatistics,
} from './server/message-router.js';
export type { Middleware, ProcessOutcome, SendTarget } from './server/middleware.js';
export { SocketManager, type SocketManagerDependencies } from './server/socket-manager.js';
export {
  type ConnectionStats,
  SocketServer,
  type SocketServerEvents,
  type SocketServerSettings,
  type SocketServerStatus,
} from './server/socket-server.js';
export type { Framing } from './wire/framing.js';
