// What is counted of one connection.

import type { ConnectionStatistics } from './connection-state.js';

export class ConnectionTally {
  messagesRefused = 0;
  messagesSent = 0;
  messagesDropped = 0;
  bytesSent = 0;
  errors = 0;
  lastError: ConnectionStatistics['lastError'];

  noteError(code: string, count: number): void {
    this.errors += count;
    this.lastError = { code, at: new Date() };
  }

  noteWritten(bytes: number, messages: number): void {
    this.bytesSent += bytes;
    this.messagesSent += messages;
  }
}
