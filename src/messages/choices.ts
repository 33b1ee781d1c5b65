// Allowed values of protocol fields and command-line flags, for modules that do not load the zod schemas.

export const OVERFLOW_POLICIES = ['disconnect', 'drop-oldest', 'drop-newest', 'block', 'log'] as const;
export const PEER_ROLES = ['crawler', 'app', 'monitor', 'relay'] as const;
