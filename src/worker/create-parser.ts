// Validation, put together from the options: the same in the workers, on the main thread and for the commands.

import type { ResolvedOptions } from '../config/config.js';
import type { ParserSettings } from '../dispatch/verdict.js';
import { type JobSeed, NO_SEED } from '../messages/job-key.js';
import { type MessageRegistry, moduleUrl } from '../messages/message-registry.js';
import { PatternSet } from '../pattern/pattern-set.js';
import { MessageParser } from '../protocol/message-parser.js';
import { MessageValidator } from '../protocol/message-validator.js';

/**
 * The settings of the workers.
 * @param jobSeed default {@link NO_SEED}, for who compares no jobs
 */
export function parserSettings(options: ResolvedOptions, jobSeed: JobSeed = NO_SEED): ParserSettings {
  const { schemas, framing, maxMessageSize, maxMessageAge, maxClockSkew, patterns, maxLearnedLayouts } =
    options;
  return {
    schemas: schemas === undefined ? undefined : moduleUrl(schemas),
    framing,
    delimiter: options.messageDelimiter.charCodeAt(0),
    maxMessageSize,
    maxMessageAge,
    maxClockSkew,
    patterns,
    maxLearnedLayouts,
    jobSeed,
  };
}

/** The parser that these settings ask for. @param registry with the schemas of the settings' module */
export function createParser(registry: MessageRegistry, settings: ParserSettings): MessageParser {
  const { framing, delimiter, maxMessageSize, maxMessageAge, maxClockSkew, maxLearnedLayouts, jobSeed } =
    settings;
  const validator = new MessageValidator({ registry, maxMessageSize, maxMessageAge, maxClockSkew });
  const { isTimely } = validator;
  const patterns =
    settings.patterns === 'off'
      ? undefined
      : PatternSet.create(registry, {
          framing,
          delimiter,
          maxMessageSize,
          isTimely,
          maxLearnedLayouts,
          jobSeed,
        });
  const verify = settings.patterns === 'verify';
  return new MessageParser({ validator, framing, delimiter, patterns, verify, jobSeed });
}
