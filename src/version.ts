// This package's version. Not read from package.json, which is not there when this code is bundled; a test compares them.

/** As `sluice --version` prints it and `welcome` tells it. */
export const SERVER_VERSION = '0.2.0';
