// Default values, for modules that do not load the zod schemas.

import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** The socket that the broker listens on, and clients connect to, by default. */
export const DEFAULT_SOCKET_PATH = join(process.env.XDG_RUNTIME_DIR || tmpdir(), 'sluice.sock');

/** The longest delay that Node timers support, in ms. */
export const MAX_TIMER = 2_147_483_647;
