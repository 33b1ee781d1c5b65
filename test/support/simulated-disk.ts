// A disk that loses power: it remembers what is durable, and what a crash may leave of the rest.

import type { LogDisk, LogFile } from '#src/log/disk.js';

const SECTOR = 512;
const NO_BYTES = Buffer.alloc(0);

/** Chooses an integer from 0 to `limit` - 1. */
export type Choose = (limit: number) => number;

interface FileState {
  /** As programs see it. */
  content: Buffer;
  durable: Buffer;
  /** Whether a sync has failed: as with Linux, the next ones succeed without writing what was lost. */
  hasLost: boolean;
}

export class SimulatedDisk implements LogDisk {
  readonly #names = new Map<string, FileState>();
  #durableNames: Map<string, FileState> = new Map();
  /** States of the folder since it was durable, one for each change. */
  #folderStates: Map<string, FileState>[] = [];
  /** Calls until the power fails: then nothing that is in progress ends, and nothing begins. */
  callsLeft = Number.POSITIVE_INFINITY;
  /** Called before each call; may throw what the call is to fail with. */
  onCall: (kind: string) => void = () => {};
  /** Bytes that all files together may have. */
  capacity = Number.POSITIVE_INFINITY;
  #onPowerFailure: () => void = () => {};
  /** Resolves when the power fails. */
  readonly powerFailure = new Promise<void>((resolve) => {
    this.#onPowerFailure = resolve;
  });

  async call(kind: string): Promise<void> {
    if (this.callsLeft-- <= 0) {
      this.#onPowerFailure();
      await new Promise<never>(() => {});
    }
    this.onCall(kind);
  }

  async list(): Promise<string[]> {
    await this.call('list');
    return [...this.#names.keys()];
  }

  async open(name: string, purpose: 'read' | 'write' | 'create'): Promise<LogFile> {
    await this.call('open');
    let state = this.#names.get(name);
    if (state === undefined) {
      if (purpose !== 'create') throw Object.assign(new Error('no such file'), { code: 'ENOENT' });
      state = { content: NO_BYTES, durable: NO_BYTES, hasLost: false };
      this.#names.set(name, state);
      this.#recordChange();
    }
    return new SimulatedFile(this, state);
  }

  async rename(from: string, to: string): Promise<void> {
    await this.call('rename');
    const state = this.#names.get(from);
    if (state === undefined) throw Object.assign(new Error(from), { code: 'ENOENT' });
    this.#names.delete(from);
    this.#names.set(to, state);
    this.#recordChange();
  }

  async remove(name: string): Promise<void> {
    await this.call('remove');
    if (this.#names.delete(name)) this.#recordChange();
  }

  async syncFolder(): Promise<void> {
    await this.call('syncFolder');
    this.#durableNames = new Map(this.#names);
    this.#folderStates = [];
  }

  holds(state: FileState): boolean {
    return [...this.#names.values()].includes(state);
  }

  get size(): number {
    return [...this.#names.values()].reduce((sum, { content }) => sum + content.length, 0);
  }

  /** The content of a file, to damage it. */
  contentOf(name: string): Buffer {
    const state = this.#names.get(name);
    if (state === undefined) throw new Error(`there is no file ${name}`);
    return state.content;
  }

  setContent(name: string, content: Buffer): void {
    this.#names.set(name, { content, durable: content, hasLost: false });
  }

  #recordChange(): void {
    this.#folderStates.push(new Map(this.#names));
  }

  /** What is on the disk after the power is back. */
  afterPowerFailure(choose: Choose): SimulatedDisk {
    const disk = new SimulatedDisk();
    const states = [this.#durableNames, ...this.#folderStates];
    for (const [name, state] of states[choose(states.length)] ?? []) {
      const content = survivorOf(state, choose);
      disk.#names.set(name, { content, durable: content, hasLost: false });
    }
    disk.#durableNames = new Map(disk.#names);
    return disk;
  }
}

/** Of what was not durable, any sectors survive, in any order. */
function survivorOf({ content, durable }: FileState, choose: Choose): Buffer {
  const size = content.length === durable.length || choose(2) === 0 ? content.length : durable.length;
  const survivor = Buffer.alloc(size);
  durable.copy(survivor);
  for (let at = 0; at < size; at += SECTOR) {
    const end = Math.min(at + SECTOR, size);
    const isChanged = !content.subarray(at, end).equals(survivor.subarray(at, end));
    if (isChanged && choose(2) === 0) content.copy(survivor, at, at, end);
  }
  return survivor;
}

class SimulatedFile implements LogFile {
  readonly #disk: SimulatedDisk;
  readonly #state: FileState;

  constructor(disk: SimulatedDisk, state: FileState) {
    this.#disk = disk;
    this.#state = state;
  }

  async size(): Promise<number> {
    return this.#state.content.length;
  }

  async read(buffer: Buffer, position: number): Promise<number> {
    const { content } = this.#state;
    return position < content.length ? content.copy(buffer, 0, position) : 0;
  }

  async write(buffers: readonly Buffer[], position: number): Promise<void> {
    const bytes = Buffer.concat(buffers);
    const room = this.#state.content.length + this.#disk.capacity - this.#disk.size;
    // A failure may leave any part of it.
    this.#apply(bytes.subarray(0, Math.max(0, room - position)), position);
    if (position + bytes.length > room) throw Object.assign(new Error('no space'), { code: 'ENOSPC' });
    await this.#disk.call('write');
  }

  #apply(bytes: Buffer, position: number): void {
    const size = Math.max(this.#state.content.length, position + bytes.length);
    const content = Buffer.alloc(size);
    this.#state.content.copy(content);
    bytes.copy(content, position);
    this.#state.content = content;
  }

  async sync(): Promise<void> {
    const { content } = this.#state;
    try {
      await this.#disk.call('sync');
    } catch (error) {
      this.#state.hasLost = true;
      throw error;
    }
    // Writes make copies, so that what is written meanwhile is not included.
    if (!this.#state.hasLost) this.#state.durable = content;
  }

  async isInPlace(): Promise<boolean> {
    return this.#disk.holds(this.#state);
  }

  async truncate(size: number): Promise<void> {
    await this.#disk.call('truncate');
    this.#state.content = Buffer.from(this.#state.content.subarray(0, size));
  }

  async close(): Promise<void> {}
}
