// WebAssembly instructions as functions that return their encoding. An expression pushes one value, a statement none.
// Contains only the instructions that patterns use. Opcodes: WebAssembly Core Specification 2.0, section 5.4.

/**
 * Encoded instructions: a byte, or a sequence of parts. An expression contains its operands as parts, so no bytes are
 * copied until the function is written.
 */
export type Code = number | readonly Code[];

/** Encoded value types. */
export const I32 = 0x7f;
export const I64 = 0x7e;
export const F64 = 0x7c;
export const V128 = 0x7b;
export type ValueType = typeof I32 | typeof I64 | typeof F64 | typeof V128;

/** Unsigned LEB128: 7 bits per byte, lowest first. */
export function unsigned(value: number): Code {
  if (value < 0x80) return value;
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) | 0x80);
  bytes.push(rest);
  return bytes;
}

/**
 * Signed LEB128.
 * @param low the lower 32 bits
 * @param high the upper 32 bits. Default: the sign of `low`.
 */
export function signed(low: number, high = low >> 31): Code {
  const bytes: number[] = [];
  let [lower, upper] = [low, high];
  for (;;) {
    const bits = lower & 0x7f;
    lower = (lower >>> 7) | (upper << 25);
    upper >>= 7;
    const isDone = (bits & 0x40) === 0 ? (lower | upper) === 0 : (lower & upper) === -1;
    bytes.push(isDone ? bits : bits | 0x80);
    if (isDone) return bytes;
  }
}

const unary =
  (...opcode: number[]) =>
  (a: Code): Code => [a, opcode];
const binary =
  (...opcode: number[]) =>
  (a: Code, b: Code): Code => [a, b, opcode];
/** Encodes alignment 1, since messages begin at any address. */
const load =
  (...opcode: number[]) =>
  (address: Code, offset = 0): Code => [address, opcode, 0, unsigned(offset)];
const store =
  (...opcode: number[]) =>
  (address: Code, value: Code, offset = 0): Code => [address, value, opcode, 0, unsigned(offset)];

export const i32 = {
  const: (value: number): Code => [0x41, signed(value | 0)],
  load: load(0x28),
  load8_u: load(0x2d),
  load16_u: load(0x2f),
  store: store(0x36),
  eqz: unary(0x45),
  eq: binary(0x46),
  ne: binary(0x47),
  lt_u: binary(0x49),
  gt_u: binary(0x4b),
  le_u: binary(0x4d),
  ge_u: binary(0x4f),
  ctz: unary(0x68),
  add: binary(0x6a),
  sub: binary(0x6b),
  mul: binary(0x6c),
  and: binary(0x71),
  or: binary(0x72),
  xor: binary(0x73),
  shl: binary(0x74),
  shr_u: binary(0x76),
  rotl: binary(0x77),
  /** Saturates to the range of u32; never traps. */
  trunc_sat_f64_u: unary(0xfc, 0x03),
};

export const i64 = {
  const: (value: bigint): Code => [
    0x42,
    signed(Number(value & 0xffff_ffffn) | 0, Number(BigInt.asIntN(32, value >> 32n))),
  ],
  load: load(0x29),
  ne: binary(0x52),
  add: binary(0x7c),
  mul: binary(0x7e),
  extend_i32_u: unary(0xad),
};

export const f64 = {
  const: (value: number): Code => [0x44, ...new Uint8Array(new Float64Array([value]).buffer)],
  ne: binary(0x62),
  lt: binary(0x63),
  gt: binary(0x64),
  le: binary(0x65),
  ge: binary(0x66),
  neg: unary(0x9a),
  trunc: unary(0x9d),
  mul: binary(0xa2),
  div: binary(0xa3),
  convert_i64_s: unary(0xb9),
};

/** Vectors of 16 bytes. */
export const i8x16 = {
  load: load(0xfd, 0x00),
  const: (lanes: readonly number[]): Code => [0xfd, 0x0c, ...lanes],
  splat: (value: number): Code => [0xfd, 0x0c, ...new Array<number>(16).fill(value)],
  eq: binary(0xfd, 0x23),
  lt_s: binary(0xfd, 0x25),
  lt_u: binary(0xfd, 0x26),
  le_u: binary(0xfd, 0x2a),
  or: binary(0xfd, 0x50),
  all_true: unary(0xfd, 0x63),
  bitmask: unary(0xfd, 0x64),
  sub: binary(0xfd, 0x71),
};

export const getLocal = (local: number): Code => [0x20, unsigned(local)];
export const getGlobal = (global: number): Code => [0x23, unsigned(global)];
export const call = (index: number, ...args: readonly Code[]): Code => [args, 0x10, unsigned(index)];
/** Calls a function of the table. @param type index of the function's type */
export const callIndirect = (type: number, index: Code, ...args: readonly Code[]): Code => [
  args,
  index,
  0x11,
  unsigned(type),
  0x00,
];
/** Discards a value. */
export const drop = (value: Code): Code => [value, 0x1a];

export const select = (a: Code, b: Code, condition: Code): Code => [a, b, condition, 0x1b];
