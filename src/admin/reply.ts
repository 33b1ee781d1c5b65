// Replies of the admin server.

export interface Reply {
  readonly status: number;
  readonly body: string | Buffer;
  readonly headers: Readonly<Record<string, string>>;
}

/** A reply in JSON. */
export function json(status: number, value: unknown): Reply {
  return {
    status,
    body: `${JSON.stringify(value)}\n`,
    headers: { 'content-type': 'application/json; charset=utf-8' },
  };
}
