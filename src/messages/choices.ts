// The words that the protocol's messages and the command line choose from, for who needs no schemas.

export const OVERFLOW_POLICIES = ['disconnect', 'drop-oldest', 'drop-newest', 'block'] as const;
export const PEER_ROLES = ['crawler', 'app', 'monitor'] as const;
