// What a worker loads to validate batches: the schemas, the patterns and the slow path. Loading it is most of a worker's
// startup time.

import type { WorkerSettings } from '../dispatch/verdict.js';
import { SluiceError } from '../errors.js';
import { MessageRegistry } from '../messages/message-registry.js';
import { createProjection } from '../pattern/projection.js';
import { type BatchOptions, BatchValidator } from './batch-validator.js';
import { createParser } from './create-parser.js';

/**
 * @param onUnavailable called with the reason if patterns cannot be used here
 * @throws SluiceError `SCHEMA_MODULE_INVALID`
 */
export async function createBatchValidator(
  settings: WorkerSettings,
  onUnavailable: (reason: string) => void,
  onProgress: NonNullable<BatchOptions['onProgress']>,
): Promise<BatchValidator> {
  const { schemas, fingerprint } = settings;
  const registry = await MessageRegistry.load(schemas);
  // Type indexes, parts of schemas and the memory of compiled patterns would not be those of the other threads.
  if (fingerprint !== undefined && fingerprint !== registry.fingerprint) {
    throw new SluiceError(
      'SCHEMA_MODULE_INVALID',
      `${schemas} has changed since this process loaded it: restart the process`,
    );
  }
  const parser = createParser(registry, settings, onUnavailable, settings.modules);
  const projection = createProjection(registry, settings.fields);
  return new BatchValidator(parser, settings.delimiter, { ...settings, projection, onProgress });
}
