// Replies of the admin server.

export interface Reply {
  readonly status: number;
  readonly body: string | Buffer;
  readonly headers: Readonly<Record<string, string>>;
}

/** A request that cannot be answered, and why: the client gets the text. */
export class RequestError extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** A reply in JSON. */
export function json(status: number, value: unknown): Reply {
  return {
    status,
    body: `${JSON.stringify(value)}\n`,
    headers: { 'content-type': 'application/json; charset=utf-8' },
  };
}
