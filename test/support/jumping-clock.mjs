// For `node --import`: a wall clock that is alternately an hour early and an hour late.
const HOUR = 3_600_000;
const JUMP_MS = 40;

const RealDate = Date;
let offset = HOUR;
setInterval(() => {
  offset = -offset;
}, JUMP_MS).unref();

globalThis.Date = class extends RealDate {
  constructor(...args) {
    if (args.length === 0) super(RealDate.now() + offset);
    else super(...args);
  }

  static now() {
    return RealDate.now() + offset;
  }
};
