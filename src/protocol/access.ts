// Access control by tokens. If none are configured, only the permissions of the socket file restrict access.

import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import * as z from 'zod';
import { authTokensSchema } from '../config/config.js';
import { requirePrivate } from '../config/private-file.js';
import { readText } from '../config/text-file.js';
import { describeJsonError, SluiceError } from '../errors.js';
import type { PeerRole } from '../messages/messages.js';

/**
 * Tokens by role. A role may have several, so that they can be rotated without downtime. A relay needs one of `crawler`.
 * `admin` is no role of peers: its tokens are for actions in the admin server.
 */
export type AuthTokens = {
  readonly [R in Exclude<PeerRole, 'relay'> | 'admin']?: readonly string[] | undefined;
};

type TokenRole = keyof AuthTokens;

/** `publish`: send messages as a crawler. `subscribe`: receive them. `command`: send messages to crawlers. */
export type AccessAction = 'publish' | 'subscribe' | 'command';

/** The properties of a connection that access depends on. */
export interface AccessSubject {
  readonly role: PeerRole;
  /** Whether the peer's `hello` was accepted. */
  readonly isHelloAccepted: boolean;
}

const ALLOWED: Readonly<Record<PeerRole, ReadonlySet<AccessAction>>> = {
  crawler: new Set(['publish']),
  relay: new Set(['publish']),
  app: new Set(['subscribe', 'command']),
  monitor: new Set(['subscribe']),
};
const ROLES = ['crawler', 'app', 'monitor', 'admin'] as const;
/** Whose tokens may read messages by HTTP. */
const READERS = ['monitor', 'app', 'admin'] as const;
/** Wrong tokens of all peers in one second; peers that send more are rejected with `RATE_LIMITED`. */
const MAX_FAILURES = 100;
const SECOND = 1000;

export class AccessControl {
  /** HMACs of the tokens under a random key of this process: equal in length, and no secrets in memory dumps. */
  #digests: ReadonlyMap<TokenRole, readonly Buffer[]>;
  #key = randomBytes(32);
  #isEnabled: boolean;
  #failures = 0;
  #failuresSince = 0;

  constructor(tokens: AuthTokens = {}) {
    const entries = ROLES.map((role) => [role, tokens[role] ?? []] as const);
    this.#digests = new Map(entries.map(([role, list]) => [role, list.map((token) => this.#digest(token))]));
    // Admin tokens are not for peers.
    this.#isEnabled = entries.some(([role, list]) => role !== 'admin' && list.length > 0);
  }

  /**
   * Loads the tokens of the options and of their token file.
   * @throws SluiceError `CONFIG_UNREADABLE` if the file is missing or invalid, or other users may access it
   */
  static load(auth: { readonly tokens: AuthTokens; readonly file?: string | undefined }): AccessControl {
    const fromFile = auth.file === undefined ? {} : readTokenFile(auth.file);
    const tokens = Object.fromEntries(
      ROLES.map((role) => [role, [...(auth.tokens[role] ?? []), ...(fromFile[role] ?? [])]]),
    );
    return new AccessControl(tokens);
  }

  /**
   * Replaces the tokens. Peers whose `hello` was accepted stay authenticated, whatever token it contained; all others
   * count as authenticated only if they need no token now.
   * @throws SluiceError `CONFIG_UNREADABLE`; the tokens are then unchanged
   */
  reload(auth: Parameters<typeof AccessControl.load>[0]): void {
    const fresh = AccessControl.load(auth);
    this.#key = fresh.#key;
    this.#digests = fresh.#digests;
    this.#isEnabled = fresh.#isEnabled;
  }

  /** Whether a peer may assume this role. The duration does not depend on whether the token is right. */
  verifyToken(role: PeerRole, token: string | undefined): boolean {
    if (!this.#isEnabled) return true;
    const owner = role === 'relay' ? 'crawler' : role;
    if ((this.#digests.get(owner)?.length ?? 0) === 0) return owner === 'crawler';
    return this.#isKnown([owner], token);
  }

  /** Whether a token belongs to someone who may read messages, or none is needed. */
  verifyReader(token: string | undefined): boolean {
    return !this.#isEnabled || this.#isKnown(READERS, token);
  }

  /** Whether a token is an admin token; `undefined` if there are none. */
  verifyAdmin(token: string | undefined): boolean | undefined {
    return (this.#digests.get('admin')?.length ?? 0) === 0 ? undefined : this.#isKnown(['admin'], token);
  }

  /** Whether the token belongs to one of the roles. Counts a failure otherwise. */
  #isKnown(roles: readonly TokenRole[], token: string | undefined): boolean {
    const presented = this.#digest(token ?? '');
    let isKnown = false;
    for (const role of roles)
      for (const digest of this.#digests.get(role) ?? [])
        if (timingSafeEqual(digest, presented)) isKnown = true;
    if (!isKnown) this.#failures++;
    return isKnown;
  }

  /**
   * Whether the limit of wrong tokens in this second is reached. Right tokens are accepted anyway.
   * @param now monotonic time in ms
   */
  isFailureLimitReached(now: number): boolean {
    if (now - this.#failuresSince >= SECOND) {
      this.#failuresSince = now;
      this.#failures = 0;
    }
    return this.#failures >= MAX_FAILURES;
  }

  /** Whether a peer must send a `hello` with a token before anything else. */
  get needsHello(): boolean {
    return this.#isEnabled && (this.#digests.get('crawler')?.length ?? 0) > 0;
  }

  /** Whether the `hello` of a peer was accepted, or it needs none. */
  isAuthenticated({ role, isHelloAccepted }: AccessSubject): boolean {
    return isHelloAccepted || !this.#isEnabled || (role === 'crawler' && !this.needsHello);
  }

  /** Whether a peer is authenticated and its role permits the action. */
  isAllowed(subject: AccessSubject, action: AccessAction): boolean {
    if (!this.#isEnabled) return true;
    return this.isAuthenticated(subject) && ALLOWED[subject.role].has(action);
  }

  #digest(token: string): Buffer {
    return createHmac('sha256', this.#key).update(token).digest();
  }
}

function readTokenFile(path: string): AuthTokens {
  const fail = (detail: string, cause?: unknown): never => {
    throw new SluiceError('CONFIG_UNREADABLE', `${path}: ${detail}`, { cause });
  };
  let content: unknown;
  try {
    requirePrivate(path);
    content = JSON.parse(readText(path));
  } catch (error) {
    if (error instanceof SluiceError) throw error;
    fail(describeJsonError(error));
  }
  const result = z.safeParse(authTokensSchema, content);
  if (!result.success)
    return fail('must be an object with lists of tokens by role, of at least 16 characters each');
  return result.data;
}
