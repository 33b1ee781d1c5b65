// This package's version. Not read from package.json, which is not there when this code is bundled; a test compares them.

/** Printed by `sluice --version` and sent in `welcome`. */
export const SERVER_VERSION = '0.2.0';
