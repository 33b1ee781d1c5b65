// Generates the WebAssembly code that matches a node. The code advances one local, the address `at`, past the text that
// matches, and branches to the label `fail` if the text does not match.
//
// The pseudo-code above each method is C: `at` points to bytes, and scanners (scanners.ts) return 0 on failure. "match"
// stands for the code of a literal text (#compare) or of another node, which includes its branches to `fail`. The texts
// ',' and ':' stand for the separators of the pattern's spacing.

import { choice, hasChecks, hasSpans, type Member, type PatternNode, SCALAR, type Spacing } from './ir.js';
import { CHECK, CHECKS, MAX_CHECKS, SLOT } from './memory-layout.js';
import { Scanners } from './scanners.js';
import { type Code, call, F64, f64, getGlobal, getLocal, i32, i64 } from './wasm/expressions.js';
import { advance, type FunctionWriter, type Label } from './wasm/function-writer.js';
import type { ModuleWriter } from './wasm/module-writer.js';
import type { NumberRange } from './zod-introspection.js';

const QUOTE = 0x22;
const WORD = 4;
/** The parameter of each function: the address, which the code advances. */
const AT = 0;
const at = getLocal(AT);
const NOTHING = i32.const(0);
const ONE = i32.const(1);
const byte = i32.load8_u(at);
const isByte = (character: string): Code => i32.eq(byte, i32.const(character.charCodeAt(0)));

/** The state that all functions of one pattern share. */
export class PatternContext {
  readonly module: ModuleWriter;
  readonly scanners: Scanners;
  readonly spacing: Spacing;
  /** Index of the imported `isTimely(start, end)`: whether a timestamp is neither too old nor in the future. */
  readonly isTimely: number | undefined;
  #flat: number | undefined;

  constructor(module: ModuleWriter, spacing: Spacing, isTimely: number | undefined) {
    this.module = module;
    this.scanners = new Scanners(module);
    this.spacing = spacing;
    this.isTimely = isTimely;
  }

  /**
   * Index of the function that matches any scalar, or a flat array or object of scalars.
   *
   *     match scalar | [scalar, …] | {"key":scalar, …};
   *     return at;
   *   fail:
   *     return 0;
   */
  get flat(): number {
    this.#flat ??= this.module.add('flat', ['at'], (writer) => {
      const options: PatternNode[] = [
        SCALAR,
        { kind: 'list', element: SCALAR, min: 0, max: undefined },
        { kind: 'record', value: SCALAR },
      ];
      writer.block((fail) => {
        const nodes = new NodeWriter(this, writer);
        nodes.write(choice(options), fail);
        nodes.flush(fail);
        writer.return(at);
      });
      return i32.const(0);
    });
    return this.#flat;
  }
}

/** Writes the code of nodes into one function. */
export class NodeWriter {
  /** By path of a captured string: the locals with its address and length, which are 0 if the string is absent. */
  readonly strings = new Map<string, { readonly start: number; readonly length: number }>();
  /** By index of a span: the locals with its start and end address, which are 0 if the member is absent. */
  readonly spans = new Map<number, { readonly start: number; readonly end: number }>();
  readonly #values = new Map<string, number>();
  readonly #context: PatternContext;
  readonly #writer: FunctionWriter;
  /** Literal text to match next, for which no code is emitted yet: adjacent texts are compared together. */
  #expected = '';
  /** The label to branch to if that text does not match. */
  #expectedFail: Label | undefined;

  constructor(context: PatternContext, writer: FunctionWriter) {
    this.#context = context;
    this.#writer = writer;
  }

  /** Captures the number at a path. @returns the local that will hold it, or NaN if the number is absent */
  capture(path: string): number {
    const known = this.#values.get(path);
    if (known !== undefined) return known;
    const local = this.#writer.local(path, F64);
    this.#writer.set(local, f64.const(Number.NaN));
    this.#values.set(path, local);
    return local;
  }

  /** Writes the code that matches a node. Literal text at its end may be left to the next {@link flush}. */
  write(node: PatternNode, fail: Label): void {
    const { scanners } = this.#context;
    switch (node.kind) {
      case 'text':
        return this.#expect(node.text, fail);
      case 'string':
        this.#expect(`"${node.prefix}`, fail);
        return this.#scan(scanners.string(at), fail);
      case 'ascii':
        return this.#ascii(node, fail);
      case 'number':
        return this.#scan(scanners.number(at), fail);
      case 'decimal':
        return this.#decimal(node, fail);
      case 'dateTime':
        return this.#dateTime(node, fail);
      case 'date':
        this.#expect('"', fail);
        this.#scan(scanners.date(at), fail);
        return this.#expect('"', fail);
      case 'uuid':
        return this.#uuid(node.version, fail);
      case 'flat':
        return this.#scan(call(this.#context.flat, at), fail);
      case 'object':
        return node.isUnordered
          ? this.#unorderedObject(node.members, fail)
          : this.#object(node.members, fail);
      case 'list':
        return this.#list(node, fail);
      case 'record':
        return this.#record(node.value, fail);
      case 'choice':
        return this.#choice(node.options, fail);
      case 'checked':
        return this.#checked(node, fail);
    }
  }

  /** Emits the comparison of the expected text. */
  flush(fail: Label): void {
    const expected = this.#expected;
    const target = this.#expectedFail ?? fail;
    this.#expected = '';
    this.#expectedFail = undefined;
    if (expected !== '') this.#compare(expected, target);
  }

  /** Adds literal text to match, without emitting code yet. */
  #expect(text: string, fail: Label): void {
    this.#expected += text;
    this.#expectedFail ??= fail;
  }

  /**
   * Advances to the address that a scanner returns.
   *
   *     if ((at = scanner(at)) == 0) goto fail;
   */
  #scan(end: Code, fail: Label): void {
    this.flush(fail);
    this.#writer.set(AT, end);
    this.#writer.branchIf(fail, i32.eqz(at));
  }

  /**
   * Compares literal text, 8 bytes at a time. If possible, the last load overlaps bytes that were already compared, so
   * that the remainder takes one comparison.
   *
   *     if (load64(at) != text[0..8] || load64(at + 8) != text[8..16] || …) goto fail;
   *     at += length;
   */
  #compare(text: string, fail: Label): void {
    const bytes = Buffer.from(text);
    const { length } = bytes;
    const failIf = (differs: Code): void => this.#writer.branchIf(fail, differs);
    const eight = (offset: number) =>
      failIf(i64.ne(i64.load(at, offset), i64.const(bytes.readBigUInt64LE(offset))));
    const four = (offset: number) =>
      failIf(i32.ne(i32.load(at, offset), i32.const(bytes.readInt32LE(offset))));
    let offset = 0;
    for (; length - offset >= 8; offset += 8) eight(offset);
    const rest = length - offset;
    if (rest > 0 && length >= 8) eight(length - 8);
    else if (rest >= 4) {
      four(offset);
      if (rest > 4) four(length - 4);
    } else {
      if (rest >= 2) {
        failIf(i32.ne(i32.load16_u(at, offset), i32.const(bytes.readUInt16LE(offset))));
      }
      if (rest % 2 === 1) failIf(i32.ne(i32.load8_u(at, length - 1), i32.const(bytes[length - 1] ?? 0)));
    }
    advance(this.#writer, AT, i32.const(length));
  }

  /**
   *     match '"';
   *     start = at;
   *     if ((at = ascii(at)) == 0) goto fail;
   *     length = at - start;
   *     if (length < min || length > max) goto fail;
   *     at++;                                         // the closing quote
   */
  #ascii({ min, max, capture }: PatternNode & { kind: 'ascii' }, fail: Label): void {
    const writer = this.#writer;
    this.#expect('"', fail);
    this.flush(fail);
    const prefix = capture === undefined ? '' : `${capture}.`;
    const [start, length] = [writer.local(`${prefix}start`), writer.local(`${prefix}length`)];
    writer.set(start, at);
    this.#scan(this.#context.scanners.ascii(at), fail);
    writer.set(length, i32.sub(at, getLocal(start)));
    if (min > 0) writer.branchIf(fail, i32.lt_u(getLocal(length), i32.const(min)));
    if (max !== undefined) writer.branchIf(fail, i32.gt_u(getLocal(length), i32.const(max)));
    if (capture !== undefined) this.strings.set(capture, { start, length });
    advance(writer, AT, ONE);
  }

  /**
   *     if ((at = decimal(at)) == 0) goto fail;       // sets the global `value`
   *     if (value is outside the range) goto fail;
   *     captured = value;
   */
  #decimal({ range, capture }: PatternNode & { kind: 'decimal' }, fail: Label): void {
    const { scanners } = this.#context;
    this.#scan(scanners.decimal(at), fail);
    const value = getGlobal(scanners.value);
    for (const isOutside of outside(range, value)) this.#writer.branchIf(fail, isOutside);
    const local = this.#values.get(capture ?? '');
    if (local !== undefined) this.#writer.set(local, value);
  }

  /**
   *     match '"';
   *     start = at;
   *     if ((at = dateTime(at, allowsOffset, allowsLocal)) == 0) goto fail;
   *     if (!isTimely(start, at)) goto fail;          // if its age is checked
   *     match '"';
   */
  #dateTime({ allowsOffset, allowsLocal, isChecked }: PatternNode & { kind: 'dateTime' }, fail: Label): void {
    const { scanners, isTimely } = this.#context;
    const start = this.#writer.local('start');
    this.#expect('"', fail);
    this.flush(fail);
    this.#writer.set(start, at);
    this.#scan(scanners.dateTime(at, allowsOffset, allowsLocal), fail);
    if (isChecked) {
      if (isTimely === undefined) throw new Error('the pattern has no isTimely function');
      this.#writer.branchIf(fail, i32.eqz(call(isTimely, getLocal(start), at)));
    }
    this.#expect('"', fail);
  }

  /**
   * The third group begins with the version, the fourth with the variant. The loop is unrolled.
   *
   *     match '"';
   *     for (group = 0; group < 5; group++) {
   *       count = { 8, 4, 4, 4, 12 }[group];
   *       if (group > 0) match '-';
   *       if (group == 2 && *at != version) goto fail;            // any version: '1' to '8'
   *       if (group == 3 && *at is not one of 8, 9, a, b) goto fail;
   *       if (!hex(at, count)) goto fail;
   *       at += count;
   *     }
   *     match '"';
   */
  #uuid(version: string | undefined, fail: Label): void {
    const { scanners } = this.#context;
    const writer = this.#writer;
    const failUnless = (condition: Code): void => writer.branchIf(fail, i32.eqz(condition));
    this.#expect('"', fail);
    for (const [index, count] of [8, 4, 4, 4, 12].entries()) {
      if (index > 0) this.#expect('-', fail);
      this.flush(fail);
      if (index === 2) {
        if (version !== undefined) failUnless(isByte(version));
        else failUnless(i32.lt_u(i32.sub(byte, i32.const(0x31)), i32.const(8)));
      }
      if (index === 3) {
        const isLetter = i32.lt_u(i32.sub(i32.or(byte, i32.const(0x20)), i32.const(0x61)), i32.const(2));
        failUnless(i32.or(isLetter, i32.or(isByte('8'), isByte('9'))));
      }
      failUnless(scanners.hex(at, count));
      advance(writer, AT, i32.const(count));
    }
    this.#expect('"', fail);
  }

  /**
   * Optional members are matched in order, each at most once. After a required member, each member brings the comma
   * before it. Up to the first required member, each optional member brings the comma behind it.
   *
   *     match '{';
   *     // a required member:
   *     match ',"key":';
   *     match value;
   *     // an optional member:
   *     if (text is ',"key":') match value;
   *     // an optional member before the first required one:
   *     if (text is '"key":') { match value; matchTrailingComma(); }
   *     match '}';
   *
   * Literal text is never left to a comparison behind the start of a span that an absent member would leave set.
   */
  #object(members: readonly Member[], fail: Label): void {
    const { comma, colon } = this.#context.spacing;
    let needsComma = false;
    this.#expect('{', fail);
    for (const { key, value, isOptional, span } of members) {
      const name = (needsComma ? comma : '') + JSON.stringify(key) + colon;
      if (!isOptional) {
        this.#expect(name, fail);
        this.#memberValue(value, span, fail);
        needsComma = true;
        continue;
      }
      this.flush(fail);
      // Keys are unique: if the key matches and the value does not, no other member can match.
      this.#writer.block((isMissing) => {
        this.#expect(name, isMissing);
        if (span !== undefined || hasSpans(value)) this.flush(isMissing);
        this.#memberValue(value, span, fail);
        this.flush(fail);
        if (!needsComma) this.#matchTrailingComma(fail);
      });
    }
    this.#expect('}', fail);
  }

  /**
   * Matches members in any order, each at most once.
   *
   *     match '{';
   *     seen = 0;
   *     if (*at != '}')
   *       do {
   *         for (member of members)                   // unrolled
   *           if (text is '"key":') {
   *             if (seen & bit) goto fail;
   *             seen |= bit;
   *             match value;
   *             goto found;
   *           }
   *         goto fail;
   *       found:
   *       } while (text is ',');
   *     if ((seen & bits of required members) != those) goto fail;
   *     match '}';
   */
  #unorderedObject(members: readonly Member[], fail: Label): void {
    const writer = this.#writer;
    const seen = writer.local('seen');
    this.#expect('{', fail);
    this.flush(fail);
    writer.set(seen, i32.const(0));
    this.#repeat('}', fail, () => {
      writer.block((found) => {
        members.forEach(({ key, value, span }, index) => {
          const bit = i32.const(1 << index);
          writer.block((next) => {
            this.#compare(JSON.stringify(key) + this.#context.spacing.colon, next);
            writer.branchIf(fail, i32.and(getLocal(seen), bit));
            writer.set(seen, i32.or(getLocal(seen), bit));
            this.#memberValue(value, span, fail);
            this.flush(fail);
            writer.branch(found);
          });
        });
        writer.branch(fail);
      });
    });
    const required = i32.const(
      members.reduce((bits, { isOptional }, index) => (isOptional ? bits : bits | (1 << index)), 0),
    );
    writer.branchIf(fail, i32.ne(i32.and(getLocal(seen), required), required));
    this.#expect('}', fail);
  }

  /**
   * Matches the value of a member, and captures its text if it has a span. Pending text is part of both addresses.
   *
   *     spanStart = at;
   *     match value;
   *     spanEnd = at;
   */
  #memberValue(value: PatternNode, span: number | undefined, fail: Label): void {
    if (span === undefined) return this.write(value, fail);
    const writer = this.#writer;
    const [start, end] = [writer.local(`span${span}.start`), writer.local(`span${span}.end`)];
    const position = (): Code => i32.add(at, i32.const(this.#expected.length));
    writer.set(start, position());
    this.write(value, fail);
    writer.set(end, position());
    this.spans.set(span, { start, end });
  }

  /**
   * Matches a comma that is followed by a key, or checks that the object ends here.
   *
   *     if (text is ',') { at++; if (*at != '"') goto fail; }
   *     else if (*at != '}') goto fail;
   */
  #matchTrailingComma(fail: Label): void {
    const writer = this.#writer;
    writer.block((end) => {
      writer.block((isLast) => {
        this.#compare(this.#context.spacing.comma, isLast);
        writer.branchIf(fail, i32.ne(byte, i32.const(QUOTE)));
        writer.branch(end);
      });
      writer.branchIf(fail, i32.eqz(isByte('}')));
    });
  }

  /**
   *     match '[';
   *     count = 0;                                    // only if the length is bounded
   *     if (min > 0 || *at != ']')
   *       do { match element; count++; } while (text is ',');
   *     if (count < min || count > max) goto fail;
   *     match ']';
   */
  #list({ element, min, max }: PatternNode & { kind: 'list' }, fail: Label): void {
    const writer = this.#writer;
    if (max === 0) return this.#expect('[]', fail);
    const count = min > 1 || max !== undefined ? writer.local('count') : undefined;
    this.#expect('[', fail);
    this.flush(fail);
    if (count !== undefined) writer.set(count, i32.const(0));
    this.#repeat(min === 0 ? ']' : undefined, fail, () => {
      this.write(element, fail);
      if (count !== undefined) advance(writer, count, ONE);
    });
    if (count !== undefined) {
      if (min > 1) writer.branchIf(fail, i32.lt_u(getLocal(count), i32.const(min)));
      if (max !== undefined) writer.branchIf(fail, i32.gt_u(getLocal(count), i32.const(max)));
    }
    this.#expect(']', fail);
  }

  /**
   * Adds a row to the table of checks.
   *
   *     valueStart = at;
   *     match node;
   *     if (CHECKS == MAX_CHECKS) goto fail;
   *     checks[CHECKS++] = { part, valueStart, at };
   */
  #checked({ node, part }: PatternNode & { kind: 'checked' }, fail: Label): void {
    const writer = this.#writer;
    const [start, row] = [writer.local('valueStart'), writer.local('check')];
    const count = i32.load(NOTHING, SLOT.CHECKS);
    this.flush(fail);
    writer.set(start, at);
    this.write(node, fail);
    this.flush(fail);
    writer.branchIf(fail, i32.eq(count, i32.const(MAX_CHECKS)));
    writer.set(row, i32.mul(count, i32.const(CHECK.SIZE * WORD)));
    const set = (field: number, value: Code) =>
      writer.emit(i32.store(getLocal(row), value, CHECKS + field * WORD));
    set(CHECK.PART, i32.const(part));
    set(CHECK.START, getLocal(start));
    set(CHECK.END, at);
    writer.emit(i32.store(NOTHING, i32.add(count, ONE), SLOT.CHECKS));
  }

  /**
   *     match '{';
   *     if (*at != '}')
   *       do { match '"'; if ((at = key(at)) == 0) goto fail; match ':'; match value; } while (text is ',');
   *     match '}';
   */
  #record(value: PatternNode, fail: Label): void {
    this.#expect('{', fail);
    this.flush(fail);
    this.#repeat('}', fail, () => {
      this.#expect('"', fail);
      this.#scan(this.#context.scanners.key(at), fail);
      this.#expect(this.#context.spacing.colon, fail);
      this.write(value, fail);
    });
    this.#expect('}', fail);
  }

  /**
   * Matches items separated by commas.
   *
   *     if (*at != end)                               // only if `end` is given
   *       do match item; while (text is ',');
   *
   * @param end the closing bracket, if there may be no items
   */
  #repeat(end: string | undefined, fail: Label, item: () => void): void {
    const writer = this.#writer;
    writer.block((done) => {
      if (end !== undefined) writer.branchIf(done, isByte(end));
      writer.loop((again) => {
        item();
        this.flush(fail);
        this.#compare(this.#context.spacing.comma, done);
        writer.branch(again);
      });
    });
  }

  /**
   *     start = at, checks = CHECKS;
   *     if (first option matches) goto done;
   *     at = start, CHECKS = checks;                  // without what the first option has listed
   *     …
   *     match last option;                            // fails if no option matches
   *   done:
   */
  #choice(options: readonly PatternNode[], fail: Label): void {
    const writer = this.#writer;
    this.flush(fail);
    const start = writer.local('start');
    const mayAdvance = options.some(({ kind }) => kind !== 'text');
    const checks = options.some(hasChecks) ? writer.local('checks') : undefined;
    if (mayAdvance) writer.set(start, at);
    if (checks !== undefined) writer.set(checks, i32.load(NOTHING, SLOT.CHECKS));
    writer.block((done) => {
      options.forEach((option, index) => {
        if (index === options.length - 1) {
          this.write(option, fail);
          this.flush(fail);
          return;
        }
        writer.block((next) => {
          this.write(option, next);
          this.flush(next);
          writer.branch(done);
        });
        if (mayAdvance) writer.set(AT, getLocal(start));
        if (checks !== undefined) writer.emit(i32.store(NOTHING, getLocal(checks), SLOT.CHECKS));
      });
    });
  }
}

/** Conditions, at least one of which is true for each number outside the range. */
function outside({ isInteger, min, max, minExcluded, maxExcluded }: NumberRange, value: Code): Code[] {
  const conditions: Code[] = [];
  if (isInteger) conditions.push(f64.ne(f64.trunc(value), value));
  if (min !== Number.NEGATIVE_INFINITY)
    conditions.push((minExcluded ? f64.le : f64.lt)(value, f64.const(min)));
  if (max !== Number.POSITIVE_INFINITY)
    conditions.push((maxExcluded ? f64.ge : f64.gt)(value, f64.const(max)));
  return conditions;
}
