// Writes the code that takes a node's text: it moves one variable, the address, behind what it takes, and
// leaves by the label `miss` where the text is another.

import { choice, type Member, type PatternNode, SCALAR, type Spacing } from './ir.js';
import { Scanners } from './scanners.js';
import { type Code, call, F64, f64, getGlobal, getLocal, i32, i64 } from './wasm/expressions.js';
import { advance, type FunctionWriter, type Label } from './wasm/function-writer.js';
import type { ModuleWriter } from './wasm/module-writer.js';
import type { NumberRange } from './zod-introspection.js';

const QUOTE = 0x22;
/** The address that each function is given, and moves. */
const AT = 0;
const at = getLocal(AT);
const ONE = i32.const(1);
const byte = i32.load8_u(at);
const isByte = (character: string): Code => i32.eq(byte, i32.const(character.charCodeAt(0)));

/** What the nodes of one pattern share. */
export class PatternContext {
  readonly module: ModuleWriter;
  readonly scanners: Scanners;
  readonly spacing: Spacing;
  /** Function that says whether the timestamp from one address to another is neither too old nor in the future. */
  readonly isTimely: number | undefined;
  #flat: number | undefined;

  constructor(module: ModuleWriter, spacing: Spacing, isTimely: number | undefined) {
    this.module = module;
    this.scanners = new Scanners(module);
    this.spacing = spacing;
    this.isTimely = isTimely;
  }

  /** The function that takes any scalar, or a flat list or object of them. */
  get flat(): number {
    this.#flat ??= this.module.add(1, (writer) => {
      const options: PatternNode[] = [
        SCALAR,
        { kind: 'list', element: SCALAR, min: 0, max: undefined },
        { kind: 'record', value: SCALAR },
      ];
      writer.block((miss) => {
        const nodes = new FragmentWriter(this, writer);
        nodes.write(choice(options), miss);
        nodes.settle(miss);
        writer.return(at);
      });
      return i32.const(0);
    });
    return this.#flat;
  }
}

export class FragmentWriter {
  /** Locals with the address and the length of captured strings; 0, where the string is not there. */
  readonly strings = new Map<string, { readonly start: number; readonly length: number }>();
  readonly #values = new Map<string, number>();
  readonly #context: PatternContext;
  readonly #writer: FunctionWriter;
  /** Text that comes next and is not in the code yet, so that neighbours are compared together. */
  #expected = '';
  /** Where to go when it does not come. */
  #missed: Label | undefined;

  constructor(context: PatternContext, writer: FunctionWriter) {
    this.#context = context;
    this.#writer = writer;
  }

  /** Has the number at a path captured. Gives the local that holds it; NaN, where the number is not there. */
  capture(path: string): number {
    const known = this.#values.get(path);
    if (known !== undefined) return known;
    const local = this.#writer.local(F64);
    this.#writer.set(local, f64.const(Number.NaN));
    this.#values.set(path, local);
    return local;
  }

  /** What is still to be compared when it returns, {@link settle} compares. */
  write(node: PatternNode, miss: Label): void {
    const { scanners } = this.#context;
    switch (node.kind) {
      case 'text':
        return this.#expect(node.text, miss);
      case 'string':
        this.#expect(`"${node.prefix}`, miss);
        return this.#take(scanners.string(at), miss);
      case 'ascii':
        return this.#ascii(node, miss);
      case 'number':
        return this.#take(scanners.number(at), miss);
      case 'value':
        return this.#value(node, miss);
      case 'dateTime':
        return this.#dateTime(node, miss);
      case 'date':
        this.#expect('"', miss);
        this.#take(scanners.date(at), miss);
        return this.#expect('"', miss);
      case 'uuid':
        return this.#uuid(node.version, miss);
      case 'flat':
        return this.#take(call(this.#context.flat, at), miss);
      case 'object':
        return this.#object(node.members, miss);
      case 'list':
        return this.#list(node, miss);
      case 'record':
        return this.#record(node.value, miss);
      case 'choice':
        return this.#choice(node.options, miss);
    }
  }

  /** Compares the text that is still expected. */
  settle(miss: Label): void {
    const expected = this.#expected;
    const missed = this.#missed ?? miss;
    this.#expected = '';
    this.#missed = undefined;
    if (expected !== '') this.#compare(expected, missed);
  }

  #expect(text: string, miss: Label): void {
    this.#expected += text;
    this.#missed ??= miss;
  }

  /** Moves to the address that a scanner gives. */
  #take(end: Code, miss: Label): void {
    this.settle(miss);
    this.#writer.set(AT, end);
    this.#writer.branchIf(miss, i32.eqz(at));
  }

  /** Eight bytes at a time; what is left over, together with some that were compared before. */
  #compare(text: string, miss: Label): void {
    const bytes = Buffer.from(text);
    const { length } = bytes;
    const leaveUnless = (isEqual: Code): void => this.#writer.branchIf(miss, isEqual);
    const eight = (offset: number) =>
      leaveUnless(i64.ne(i64.load(at, offset), i64.const(bytes.readBigUInt64LE(offset))));
    const four = (offset: number) =>
      leaveUnless(i32.ne(i32.load(at, offset), i32.const(bytes.readInt32LE(offset))));
    let offset = 0;
    for (; length - offset >= 8; offset += 8) eight(offset);
    const rest = length - offset;
    if (rest > 0 && length >= 8) eight(length - 8);
    else if (rest >= 4) {
      four(offset);
      if (rest > 4) four(length - 4);
    } else {
      if (rest >= 2) {
        leaveUnless(i32.ne(i32.load16_u(at, offset), i32.const(bytes.readUInt16LE(offset))));
      }
      if (rest % 2 === 1) leaveUnless(i32.ne(i32.load8_u(at, length - 1), i32.const(bytes[length - 1] ?? 0)));
    }
    advance(this.#writer, AT, i32.const(length));
  }

  #ascii({ min, max, capture }: PatternNode & { kind: 'ascii' }, miss: Label): void {
    const writer = this.#writer;
    this.#expect('"', miss);
    this.settle(miss);
    const [start, length] = [writer.local(), writer.local()];
    writer.set(start, at);
    this.#take(this.#context.scanners.ascii(at), miss);
    writer.set(length, i32.sub(at, getLocal(start)));
    if (min > 0) writer.branchIf(miss, i32.ltU(getLocal(length), i32.const(min)));
    if (max !== undefined) writer.branchIf(miss, i32.gtU(getLocal(length), i32.const(max)));
    if (capture !== undefined) this.strings.set(capture, { start, length });
    advance(writer, AT, ONE);
  }

  #value({ range, capture }: PatternNode & { kind: 'value' }, miss: Label): void {
    const { scanners } = this.#context;
    this.#take(scanners.decimal(at), miss);
    const value = getGlobal(scanners.value);
    for (const isOutside of outside(range, value)) this.#writer.branchIf(miss, isOutside);
    const local = this.#values.get(capture ?? '');
    if (local !== undefined) this.#writer.set(local, value);
  }

  #dateTime({ allowsOffset, isChecked }: PatternNode & { kind: 'dateTime' }, miss: Label): void {
    const { scanners, isTimely } = this.#context;
    const start = this.#writer.local();
    this.#expect('"', miss);
    this.settle(miss);
    this.#writer.set(start, at);
    this.#take(scanners.dateTime(at, allowsOffset), miss);
    if (isChecked) {
      if (isTimely === undefined) throw new Error('nobody checks the age of the timestamp');
      this.#writer.branchIf(miss, i32.eqz(call(isTimely, getLocal(start), at)));
    }
    this.#expect('"', miss);
  }

  /** The version is the first digit of the third part; the fourth part begins with the variant: 8, 9, a or b. */
  #uuid(version: string | undefined, miss: Label): void {
    const { scanners } = this.#context;
    const writer = this.#writer;
    const missUnless = (condition: Code): void => writer.branchIf(miss, i32.eqz(condition));
    this.#expect('"', miss);
    for (const [index, count] of [8, 4, 4, 4, 12].entries()) {
      if (index > 0) this.#expect('-', miss);
      this.settle(miss);
      if (index === 2) {
        if (version !== undefined) missUnless(isByte(version));
        else missUnless(i32.ltU(i32.sub(byte, i32.const(0x31)), i32.const(8)));
      }
      if (index === 3) {
        const isLetter = i32.ltU(i32.sub(i32.or(byte, i32.const(0x20)), i32.const(0x61)), i32.const(2));
        missUnless(i32.or(isLetter, i32.or(isByte('8'), isByte('9'))));
      }
      missUnless(scanners.hex(at, count));
      advance(writer, AT, i32.const(count));
    }
    this.#expect('"', miss);
  }

  #object(members: readonly Member[], miss: Label): void {
    const { comma, colon } = this.#context.spacing;
    let needsComma = false;
    this.#expect('{', miss);
    for (const { key, value, isOptional } of members) {
      const name = (needsComma ? comma : '') + JSON.stringify(key) + colon;
      if (!isOptional) {
        this.#expect(name, miss);
        this.write(value, miss);
        needsComma = true;
        continue;
      }
      this.settle(miss);
      // Keys differ, so a member whose value is not taken cannot be another one.
      this.#writer.block((isMissing) => {
        this.#expect(name, isMissing);
        this.write(value, miss);
        this.settle(miss);
        // Before a member that must be there, each that may be missing brings the comma behind it.
        if (!needsComma) this.#takeComma(miss);
      });
    }
    this.#expect('}', miss);
  }

  /** A comma and, without taking it, the next key; or the end of the object. */
  #takeComma(miss: Label): void {
    const writer = this.#writer;
    writer.block((end) => {
      writer.block((isLast) => {
        this.#compare(this.#context.spacing.comma, isLast);
        writer.branchIf(miss, i32.ne(byte, i32.const(QUOTE)));
        writer.branch(end);
      });
      writer.branchIf(miss, i32.eqz(isByte('}')));
    });
  }

  #list({ element, min, max }: PatternNode & { kind: 'list' }, miss: Label): void {
    const writer = this.#writer;
    if (max === 0) return this.#expect('[]', miss);
    const count = min > 1 || max !== undefined ? writer.local() : undefined;
    this.#expect('[', miss);
    this.settle(miss);
    if (count !== undefined) writer.set(count, i32.const(0));
    this.#repeat(min === 0 ? ']' : undefined, miss, () => {
      this.write(element, miss);
      if (count !== undefined) advance(writer, count, ONE);
    });
    if (count !== undefined) {
      if (min > 1) writer.branchIf(miss, i32.ltU(getLocal(count), i32.const(min)));
      if (max !== undefined) writer.branchIf(miss, i32.gtU(getLocal(count), i32.const(max)));
    }
    this.#expect(']', miss);
  }

  #record(value: PatternNode, miss: Label): void {
    this.#expect('{', miss);
    this.settle(miss);
    this.#repeat('}', miss, () => {
      this.#expect('"', miss);
      this.#take(this.#context.scanners.key(at), miss);
      this.#expect(this.#context.spacing.colon, miss);
      this.write(value, miss);
    });
    this.#expect('}', miss);
  }

  /** One item after another, with commas between them. @param end what may come in place of all */
  #repeat(end: string | undefined, miss: Label, item: () => void): void {
    const writer = this.#writer;
    writer.block((done) => {
      if (end !== undefined) writer.branchIf(done, isByte(end));
      writer.loop((again) => {
        item();
        this.settle(miss);
        this.#compare(this.#context.spacing.comma, done);
        writer.branch(again);
      });
    });
  }

  #choice(options: readonly PatternNode[], miss: Label): void {
    const writer = this.#writer;
    this.settle(miss);
    const start = writer.local();
    const moves = options.some(({ kind }) => kind !== 'text');
    if (moves) writer.set(start, at);
    writer.block((done) => {
      options.forEach((option, index) => {
        if (index === options.length - 1) {
          this.write(option, miss);
          this.settle(miss);
          return;
        }
        writer.block((next) => {
          this.write(option, next);
          this.settle(next);
          writer.branch(done);
        });
        if (moves) writer.set(AT, getLocal(start));
      });
    });
  }
}

/** Conditions of which one is true for a number outside the range. */
function outside({ isInteger, min, max, minExcluded, maxExcluded }: NumberRange, value: Code): Code[] {
  const conditions: Code[] = [];
  if (isInteger) conditions.push(f64.ne(f64.trunc(value), value));
  if (min !== Number.NEGATIVE_INFINITY)
    conditions.push((minExcluded ? f64.le : f64.lt)(value, f64.const(min)));
  if (max !== Number.POSITIVE_INFINITY)
    conditions.push((maxExcluded ? f64.ge : f64.gt)(value, f64.const(max)));
  return conditions;
}
