// The public API of `sluice/client`.

export { type ErrorCode, SluiceError } from '../errors.js';
export type { AnyMessage } from './broker-lines.js';
export type { BrokerError } from './broker-session.js';
export type { ClientEvents, ClientState, ClientStatistics } from './client-events.js';
export type { ClientOptions, ReconnectOptions } from './client-options.js';
export type { ClientTls } from './client-socket.js';
export type { HeartbeatData, HeartbeatOptions } from './heartbeats.js';
export type { JobMessage } from './job-requests.js';
export type { CustomPublishedMessage, PublishedMessage } from './published-message.js';
export { ReceivedMessage } from './received-message.js';
export { SluiceClient } from './sluice-client.js';
export type { Subscription } from './subscription.js';
export type { SubscriptionFilter } from './subscription-filter.js';
