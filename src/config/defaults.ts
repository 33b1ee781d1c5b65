// What holds where nothing else is said, for who needs no schemas.

import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Where the broker listens, and clients look for it, when nothing else is said. */
export const DEFAULT_SOCKET_PATH = join(process.env.XDG_RUNTIME_DIR || tmpdir(), 'sluice.sock');

/** The longest delay that a Node timer keeps, in ms. */
export const MAX_TIMER = 2_147_483_647;
