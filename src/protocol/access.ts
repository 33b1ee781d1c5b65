// Who may do what, where tokens are configured. Without tokens, the permissions of the socket file decide alone.

import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import * as z from 'zod';
import { authTokensSchema } from '../config/config.js';
import { requirePrivate } from '../config/private-file.js';
import { describeJsonError, SluiceError } from '../errors.js';
import type { PeerRole } from '../messages/messages.js';

/** Tokens by role. A role may have several, so that they can be changed without a gap. */
export type AuthTokens = { readonly [R in PeerRole]?: readonly string[] | undefined };

/** `report`: send a crawler's messages. `subscribe`: receive them. `command`: send an application's messages. */
export type AccessAction = 'report' | 'subscribe' | 'command';

/** The parts of a connection that access depends on. */
export interface AccessSubject {
  readonly role: PeerRole;
  /** Whether a `hello` of the peer was accepted. */
  readonly isHelloAccepted: boolean;
}

const ALLOWED: Readonly<Record<PeerRole, ReadonlySet<AccessAction>>> = {
  crawler: new Set(['report']),
  app: new Set(['subscribe', 'command']),
  monitor: new Set(['subscribe']),
};
const ROLES = ['crawler', 'app', 'monitor'] as const;
/** Wrong tokens of all peers in one second after which no more are looked at until the next one: guessing takes time. */
const MAX_FAILURES = 100;
const SECOND = 1000;

export class AccessControl {
  /** Digests of the tokens under a key of this process: all of one length, and no secret in memory dumps. */
  #digests: ReadonlyMap<PeerRole, readonly Buffer[]>;
  #key = randomBytes(32);
  #isOn: boolean;
  #failures = 0;
  #failuresSince = 0;

  constructor(tokens: AuthTokens = {}) {
    const entries = ROLES.map((role) => [role, tokens[role] ?? []] as const);
    this.#digests = new Map(entries.map(([role, list]) => [role, list.map((token) => this.#digest(token))]));
    this.#isOn = entries.some(([, list]) => list.length > 0);
  }

  /**
   * The tokens of the options, and of the file that they name.
   * @throws SluiceError `CONFIG_UNREADABLE` when the file is not there, holds something else, or others may read it
   */
  static load(auth: { readonly tokens: AuthTokens; readonly file?: string | undefined }): AccessControl {
    const fromFile = auth.file === undefined ? {} : readTokenFile(auth.file);
    const tokens = Object.fromEntries(
      ROLES.map((role) => [role, [...(auth.tokens[role] ?? []), ...(fromFile[role] ?? [])]]),
    );
    return new AccessControl(tokens);
  }

  /**
   * Takes other tokens from now on. Peers whose `hello` was accepted stay in, whatever they said in it; all others
   * are in from now on only if they need none.
   * @throws SluiceError `CONFIG_UNREADABLE`; then nothing has changed
   */
  reload(auth: Parameters<typeof AccessControl.load>[0]): void {
    const fresh = AccessControl.load(auth);
    this.#key = fresh.#key;
    this.#digests = fresh.#digests;
    this.#isOn = fresh.#isOn;
  }

  /** Whether a peer may take this role. Takes the same time whatever token it says. */
  verifyToken(role: PeerRole, token: string | undefined): boolean {
    if (!this.#isOn) return true;
    const known = this.#digests.get(role) ?? [];
    if (known.length === 0) return role === 'crawler';
    const said = this.#digest(token ?? '');
    let isKnown = false;
    for (const digest of known) if (timingSafeEqual(digest, said)) isKnown = true;
    if (!isKnown) this.#failures++;
    return isKnown;
  }

  /**
   * Whether so many tokens were wrong in this second that no more are looked at.
   * @param now monotonic time in ms
   */
  isGuessed(now: number): boolean {
    if (now - this.#failuresSince >= SECOND) {
      this.#failuresSince = now;
      this.#failures = 0;
    }
    return this.#failures >= MAX_FAILURES;
  }

  /** Whether a peer must send a `hello` with a token before anything else. */
  get needsHello(): boolean {
    return this.#isOn && (this.#digests.get('crawler')?.length ?? 0) > 0;
  }

  /** Whether a peer has sent a `hello` that was accepted, or needs none. */
  isAuthenticated({ role, isHelloAccepted }: AccessSubject): boolean {
    return isHelloAccepted || !this.#isOn || (role === 'crawler' && !this.needsHello);
  }

  /** Whether a peer is authenticated, and its role may do this. */
  isAllowed(subject: AccessSubject, action: AccessAction): boolean {
    if (!this.#isOn) return true;
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
    content = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    if (error instanceof SluiceError) throw error;
    fail(describeJsonError(error));
  }
  const result = z.safeParse(authTokensSchema, content);
  if (!result.success) return fail('not an object with lists of tokens by role, of 16 characters at least');
  return result.data;
}
