// `npm run pattern:dump TYPE`: prints the pattern of a message type, as IR and as WebAssembly text. docs/patterns.md
// explains how to read it.

import { parseArgs } from 'node:util';
import wabt from 'wabt';
import { EXIT } from '#src/cli/common/exit-codes.js';
import { SluiceError } from '#src/errors.js';
import { NO_SEED } from '#src/messages/job-key.js';
import { MessageRegistry, type MessageType } from '#src/messages/message-registry.js';
import type { PatternNode } from '#src/pattern/ir.js';
import { memoryMap } from '#src/pattern/memory-layout.js';
import { canHavePattern, compileType, moduleOf } from '#src/pattern/pattern-set.js';
import { generateScanLoop } from '#src/pattern/scan-loop.js';
import type { ModuleWriter } from '#src/pattern/wasm/module-writer.js';
import type { NumberRange } from '#src/pattern/zod-introspection.js';

const USAGE = `Prints the pattern of a message type, as IR and as WebAssembly text.

  npm run pattern:dump TYPE [-- --schemas FILE]
  npm run pattern:dump -- --scan-loop

  --schemas FILE   a schema module, as for 'sluice serve'
  --scan-loop      print the function that calls the patterns instead
`;

/** Maximum length of a line of WebAssembly text, without its comment. */
const WIDTH = 110;

/** @returns the IR and the WebAssembly text of a type's pattern, or the reason why it has none */
export async function dumpPattern(type: MessageType): Promise<string> {
  const { name } = type;
  if (!canHavePattern(type)) return `${name}: no pattern, since the broker uses these messages itself\n`;
  const result = compileType(type, false);
  if ('declined' in result) return `${name}: declined: ${result.declined}\n`;
  const lines = [
    `${name}: ${result.omitted.length === 0 ? 'compiled' : 'partial'}`,
    ...result.omitted.map((field) => `  omitted: ${field}`),
    ...result.checked.map((field) => `  checked: ${field}`),
    '',
    ...irLines('', result.node),
    '',
    ...(await wasmText(moduleOf(type, result))),
  ];
  return `${lines.join('\n')}\n`;
}

/** @returns the WebAssembly text of the scan loop, with default options */
export async function dumpScanLoop(): Promise<string> {
  const settings = { framing: 'auto', delimiter: 10, maxMessageSize: 1024 * 1024 } as const;
  const module = generateScanLoop(memoryMap(1, 1, 0), {
    ...settings,
    keyOffset: 0,
    jobSeed: NO_SEED,
    maxSpans: 0,
  });
  return `${(await wasmText(module)).join('\n')}\n`;
}

/** One line per node; a choice of literal texts takes one line as well. */
function irLines(label: string, node: PatternNode): string[] {
  const tree = (title: string, children: readonly string[]) => [
    label + title,
    ...children.map((line) => `  ${line}`),
  ];
  switch (node.kind) {
    case 'object':
      return tree(
        'object',
        node.members.flatMap(({ key, value, isOptional }) =>
          irLines(`${JSON.stringify(key)}${isOptional ? '?' : ''}: `, value),
        ),
      );
    case 'list':
      return tree(`list${lengthOf(node)}`, irLines('', node.element));
    case 'record':
      return tree('record', irLines('', node.value));
    case 'choice': {
      const texts = node.options.flatMap((option) => (option.kind === 'text' ? [option.text] : []));
      if (texts.length === node.options.length) return [`${label}text ${texts.join(' | ')}`];
      return tree(
        'choice',
        node.options.flatMap((option) => irLines('', option)),
      );
    }
    case 'checked': {
      const [first, ...rest] = irLines(label, node.node);
      return [`${first}, checked`, ...rest];
    }
    default:
      return [label + leaf(node)];
  }
}

function leaf(
  node: Exclude<PatternNode, { kind: 'object' | 'list' | 'record' | 'choice' | 'checked' }>,
): string {
  switch (node.kind) {
    case 'text':
      return `text ${node.text}`;
    case 'string':
      return node.prefix === '' ? 'string' : `string, begins with ${JSON.stringify(node.prefix)}`;
    case 'ascii':
      return `ascii${lengthOf(node)}${captureOf(node)}`;
    case 'decimal':
      return `decimal${rangeOf(node.range)}${captureOf(node)}`;
    case 'dateTime':
      return `dateTime${node.allowsOffset ? ', may have an offset' : ''}${node.allowsLocal ? ', may be local' : ''}${node.isChecked ? ', age checked' : ''}`;
    case 'uuid':
      return node.version === undefined ? 'uuid' : `uuid, version ${node.version}`;
    default:
      return node.kind;
  }
}

function lengthOf({ min, max }: { readonly min: number; readonly max: number | undefined }): string {
  if (max === undefined) return min === 0 ? '' : `, length >= ${min}`;
  return `, length ${min} to ${max}`;
}

function rangeOf({ isInteger, min, max, minExcluded, maxExcluded }: NumberRange): string {
  const lower = Number.isFinite(min) ? `, ${minExcluded ? '>' : '>='} ${min}` : '';
  const upper = Number.isFinite(max) ? `, ${maxExcluded ? '<' : '<='} ${max}` : '';
  return (isInteger ? ', integer' : '') + lower + upper;
}

function captureOf({ capture }: { readonly capture: string | undefined }): string {
  return capture === undefined ? '' : `, captured as ${capture}`;
}

async function wasmText(code: ModuleWriter): Promise<string[]> {
  const { readWasm } = await wabt();
  // A copy, because wabt reads the whole underlying buffer.
  const module = readWasm(code.bytes(true).slice(), {
    readDebugNames: true,
    simd: true,
    sat_float_to_int: true,
  });
  try {
    module.validate();
    module.generateNames();
    module.applyNames();
    return wasmLines(parseLists(module.toText({ foldExprs: true, inlineExport: true })));
  } finally {
    module.destroy();
  }
}

/** A token, or a list in parentheses. */
type List = string | readonly List[];

function parseLists(text: string): List {
  const stack: List[][] = [[]];
  for (const [token] of text.matchAll(/[()]|"(?:[^"\\]|\\.)*"|[^\s()"]+/g)) {
    const top = stack.at(-1) ?? [];
    if (token === '(') stack.push([]);
    else if (token === ')') {
      stack.pop();
      stack.at(-1)?.push(top);
    } else top.push(token);
  }
  return stack[0]?.[0] ?? [];
}

/** Lists that always begin a line and contain lines. */
const BLOCKS = ['module', 'func', 'block', 'loop', 'if', 'then', 'else'];

/** Prints a list on one line if it fits. Comments contain the text that a line compares. */
function wasmLines(list: List, indent = ''): string[] {
  const line = indent + flat(list);
  const isBlock = typeof list !== 'string' && BLOCKS.includes(String(list[0]));
  if (typeof list === 'string' || (line.length <= WIDTH && !isBlock)) return [line + comment(line)];
  // The name and the type of a block belong to its first line.
  const isHead = (part: List) =>
    typeof part === 'string' ||
    (list[0] === 'func' && ['export', 'type', 'param', 'result'].includes(String(part[0])));
  const bodyAt = list.findIndex((part) => !isHead(part));
  const head = list.slice(0, bodyAt).map(flat).join(' ');
  const lines = list.slice(bodyAt).flatMap((part) => wasmLines(part, `${indent}  `));
  const last = lines.pop() ?? '';
  const [, code = '', text = ''] = /^(.*?)( ;; .*)?$/.exec(last) ?? [];
  return [`${indent}(${head}`, ...lines, `${code})${text}`];
}

function flat(list: List): string {
  return typeof list === 'string' ? list : `(${list.map(flat).join(' ')})`;
}

const COMPARISON =
  /\(i(?:32|64)\.(?:eq|ne) \((i32|i64)\.load(8_u|16_u)?(?: \w+=\d+)* \(local\.get \$at\)\) \(i(?:32|64)\.const (-?\d+)\)/g;

/** The literal text that a line compares with the message. */
function comment(line: string): string {
  const texts = [...line.matchAll(COMPARISON)].map(([, type, part, value = '']) => {
    const length = part === '8_u' ? 1 : part === '16_u' ? 2 : type === 'i32' ? 4 : 8;
    const bytes = Buffer.alloc(8);
    bytes.writeBigInt64LE(BigInt(value));
    return bytes.toString('latin1', 0, length);
  });
  const isReadable = texts.length > 0 && texts.every((text) => /^[\x20-\x7e]+$/.test(text));
  return isReadable ? ` ;; ${texts.join(' ')}` : '';
}

/** Prints an error in the arguments or in the schema module, and returns the exit code. */
function reportError(error: unknown): number {
  const isUsage =
    error instanceof TypeError && 'code' in error && /^ERR_PARSE_ARGS_/.test(String(error.code));
  if (!isUsage && !(error instanceof SluiceError)) throw error;
  process.stderr.write(`pattern:dump: ${error.message}\n`);
  return isUsage ? EXIT.USAGE : EXIT.CONFIG;
}

/** @returns the exit code */
async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    options: {
      schemas: { type: 'string' },
      'scan-loop': { type: 'boolean' },
      help: { type: 'boolean', short: 'h' },
    },
    allowPositionals: true,
  });
  if (values['scan-loop']) {
    process.stdout.write(await dumpScanLoop());
    return EXIT.OK;
  }
  const [name] = positionals;
  if (values.help || name === undefined || positionals.length > 1) {
    process[values.help ? 'stdout' : 'stderr'].write(USAGE);
    return values.help ? EXIT.OK : EXIT.USAGE;
  }
  const registry = await MessageRegistry.load(values.schemas);
  const types = registry.types.filter(({ index }) => index > 0);
  const type = types.find((candidate) => candidate.name === name);
  if (type === undefined) {
    const names = types.map((known) => `  ${known.name}\n`).join('');
    process.stderr.write(`Unknown message type '${name}'. The types are:\n${names}`);
    return EXIT.USAGE;
  }
  process.stdout.write(await dumpPattern(type));
  return EXIT.OK;
}

if (process.argv[1] === import.meta.filename) process.exitCode = await main().catch(reportError);
