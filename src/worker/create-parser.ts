// Creates the parser from the options, in the same way for the workers, the main thread and the commands.

import type { ResolvedOptions } from '../config/config.js';
import type { ParserSettings } from '../dispatch/verdict.js';
import type { FieldPaths } from '../messages/field-paths.js';
import { type JobSeed, NO_SEED } from '../messages/job-key.js';
import type { MessageRegistry } from '../messages/message-registry.js';
import { moduleUrl } from '../messages/module-url.js';
import {
  compilePatterns,
  type PatternModules,
  type PatternOptions,
  PatternSet,
} from '../pattern/pattern-set.js';
import { createProjection } from '../pattern/projection.js';
import { MessageParser } from '../protocol/message-parser.js';
import { MessageValidator } from '../protocol/message-validator.js';

/**
 * The parser settings for these options.
 * @param jobSeed default: {@link NO_SEED}, for callers that do not compare jobs
 * @param fields the fields to deliver with verdicts. Default: none.
 * @param checksums whether verdicts contain checksums. Default: false.
 */
export function parserSettings(
  options: ResolvedOptions,
  jobSeed: JobSeed = NO_SEED,
  fields?: FieldPaths,
  checksums = false,
): ParserSettings {
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
    validation: options.validation,
    jobSeed,
    fields,
    checksums,
  };
}

/**
 * Creates a parser with these settings.
 * @param registry must contain the types of `settings.schemas`
 * @param onUnavailable called with the reason if patterns cannot be used here: the parser then works without them
 * @param modules the result of {@link compileModules} for this registry and these settings. Default: compiled anew.
 */
export function createParser(
  registry: MessageRegistry,
  settings: ParserSettings,
  onUnavailable?: (reason: string) => void,
  modules?: PatternModules,
): MessageParser {
  const { framing, delimiter, jobSeed } = settings;
  const validator = createValidator(registry, settings);
  const options = { ...patternOptions(registry, settings, validator), onUnavailable, modules };
  const patterns = settings.patterns === 'off' ? undefined : PatternSet.create(registry, options);
  const verify = settings.patterns === 'verify';
  return new MessageParser({ validator, framing, delimiter, patterns, verify, jobSeed });
}

/**
 * Compiles the patterns for a parser with these settings, once for all threads.
 * @returns `undefined` if the parser uses none
 */
export function compileModules(
  registry: MessageRegistry,
  settings: ParserSettings,
): PatternModules | undefined {
  if (settings.patterns === 'off') return undefined;
  const modules = compilePatterns(
    registry,
    patternOptions(registry, settings, createValidator(registry, settings)),
  );
  return typeof modules === 'string' ? undefined : modules;
}

function createValidator(
  registry: MessageRegistry,
  { maxMessageSize, maxMessageAge, maxClockSkew }: ParserSettings,
): MessageValidator {
  return new MessageValidator({ registry, maxMessageSize, maxMessageAge, maxClockSkew });
}

function patternOptions(
  registry: MessageRegistry,
  { framing, delimiter, maxMessageSize, maxLearnedLayouts, jobSeed, fields }: ParserSettings,
  { isTimely }: MessageValidator,
): PatternOptions {
  const projection = createProjection(registry, fields);
  return { framing, delimiter, maxMessageSize, isTimely, maxLearnedLayouts, jobSeed, projection };
}
