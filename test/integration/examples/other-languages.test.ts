import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { describe, expect, onTestFinished, test } from 'vitest';
import { startPlainBroker, temporaryFolder, until } from '../../support/broker.js';
import { BrokerProcess } from '../../support/broker-process.js';
import { packageRoot } from '../../support/cli.js';
import { line, VALID } from '../../support/messages.js';
import { Ledger } from '../../support/numbered.js';
import { Peer } from '../../support/peer.js';
import { answerAsBroker, ScriptedBroker, WELCOME } from '../../support/scripted-broker.js';
import { share, type WhenOver } from '../../support/share.js';
import { missingTools, python, without } from '../../support/tools.js';

const drivers = join(packageRoot, 'test/support/clients');

/** Checks and compiles the driver in Go. Returns its path. */
function compileGo(whenOver: WhenOver): string {
  const folder = temporaryFolder(whenOver);
  mkdirSync(join(folder, 'sluice'));
  copyFileSync(join(packageRoot, 'examples/go/sluice.go'), join(folder, 'sluice/sluice.go'));
  copyFileSync(join(drivers, 'driver.go'), join(folder, 'driver.go'));
  writeFileSync(join(folder, 'go.mod'), 'module example.com/driver\n\ngo 1.19\n');
  const env: NodeJS.ProcessEnv = {
    ...process.env,
    GOFLAGS: '-mod=mod',
    GOTOOLCHAIN: 'local',
    GOPROXY: 'off',
  };
  const go = (...args: readonly string[]) =>
    execFileSync('go', args, { cwd: folder, env, encoding: 'utf8' }).trim();
  const compiled = join(go('env', 'GOROOT'), 'pkg');
  const isCompiled = readdirSync(compiled).some((name) => existsSync(join(compiled, name, 'net.a')));
  // Otherwise, Go compiles its standard library: without cgo, at least without a C compiler.
  if (!isCompiled) env.CGO_ENABLED = '0';
  // `go vet` would analyse all of the standard library first: ten times as long.
  const packages = go('list', '-deps', '-export', '-f', '{{.ImportPath}} {{.Export}}', './...').split('\n');
  const exported = Object.fromEntries(packages.map((text) => text.split(' ')));
  const config = join(folder, 'vet.cfg');
  for (const [name, file] of [
    ['example.com/driver/sluice', 'sluice/sluice.go'],
    ['example.com/driver', 'driver.go'],
  ] as const) {
    const settings = {
      ID: name,
      Compiler: 'gc',
      ImportPath: name,
      GoFiles: [join(folder, file)],
      ImportMap: Object.fromEntries(Object.keys(exported).map((path) => [path, path])),
      PackageFile: exported,
      VetxOutput: join(folder, 'facts'),
    };
    writeFileSync(config, JSON.stringify(settings));
    go('tool', 'vet', config);
  }
  go('build', '-o', 'driver', '.');
  return join(folder, 'driver');
}

/** The command that runs the driver of a client, and what this machine lacks for it. */
function language(name: string, tool: string, prepare: (whenOver: WhenOver) => readonly string[]) {
  const missing = missingTools(tool);
  const driver = missing.length === 0 ? share(prepare) : () => [];
  return { name, driver, missing };
}

const PYTHON = language('Python', 'python3', () => [python(), join(drivers, 'driver.py')]);
const LANGUAGES = [PYTHON, language('Go', 'go', (whenOver) => [compileGo(whenOver)])];
const installed = LANGUAGES.filter(({ missing }) => missing.length === 0);

/** A program that uses a client, and does what it is told. */
class Driver {
  readonly rejected: string[] = [];
  readonly #child: ChildProcess;
  readonly #answers: unknown[] = [];

  constructor(
    [command = '', ...args]: readonly string[],
    socketPath: string,
    env: Record<string, string> = {},
  ) {
    const clientFolder = join(packageRoot, 'examples/python');
    const child = spawn(command, args, {
      env: {
        ...process.env,
        SOCKET_PATH: socketPath,
        CLIENT_FOLDER: clientFolder,
        CRAWLER_ID: 'crawler-1',
        PRODUCER: '1',
        // For its heartbeats. Empty: it sends none.
        ACTIVE_JOBS: '1',
        PYTHONDONTWRITEBYTECODE: '1',
        ...env,
      },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#child = child;
    onTestFinished(() => void child.kill('SIGKILL'));
    createInterface({ input: child.stdout }).on('line', (text) => {
      const { answer, rejected } = JSON.parse(text) as { answer?: unknown; rejected?: string };
      if (rejected === undefined) this.#answers.push(answer);
      else this.rejected.push(rejected);
    });
  }

  send(command: string): void {
    this.#child.stdin?.write(`${command}\n`);
  }

  /** The answer to the oldest command that has not been awaited. */
  async answer(): Promise<unknown> {
    await until(() => this.#answers.length > 0);
    return this.#answers.shift();
  }

  get hasAnswer(): boolean {
    return this.#answers.length > 0;
  }

  do(command: string): Promise<unknown> {
    this.send(command);
    return this.answer();
  }
}

const MESSAGE = `${JSON.stringify({ type: 'job_cancel', data: {} })}\n`;

const errorLine = (code: string) => JSON.stringify({ type: 'error', data: { code } });

/** Answers like a broker, and sends something with the welcome. */
function welcomeThen(lines: string, settings: object = {}): ScriptedBroker['answer'] {
  const welcome = JSON.stringify({ type: 'welcome', data: { ...WELCOME, ...settings } });
  return (message) => (message.type === 'hello' ? `${welcome}\n${lines}` : answerAsBroker(message));
}

/** Answers like a broker, and rejects what was sent before the first ping. */
function rejectFirst(): ScriptedBroker['answer'] {
  let pings = 0;
  return (message) => {
    const answer = answerAsBroker(message);
    return message.type === 'ping' && pings++ === 0 ? `${errorLine('RULE_VIOLATION')}\n${answer}` : answer;
  };
}

/** Reads what a subscriber receives. */
function read(peer: Peer, ledger: Ledger): void {
  peer.socket.on('data', () => {
    for (const text of peer.lines.splice(0)) ledger.readLine(text);
  });
}

describe.each(LANGUAGES)('the $name client', ({ driver, missing }) => {
  const run = (socketPath: string, env: Record<string, string> = {}) => new Driver(driver(), socketPath, env);

  test.skipIf(missing.length > 0)(
    `sends heartbeats, gets confirmations and messages, and is told what is rejected${without(missing)}`,
    async () => {
      const broker = await startPlainBroker({ heartbeatInterval: 2 });
      const types: string[] = [];
      broker.manager.on('message', ({ type }) => types.push(type));
      const client = run(broker.socketPath);
      await client.do('publish 0 100');
      expect(await client.do('flush 30')).toBe('flushed');
      expect(types.filter((type) => type === 'job_progress')).toHaveLength(100);
      await until(() => types.filter((type) => type === 'heartbeat').length > 2);
      const application = await broker.connect();
      application.write(line({ ...VALID.job_assignment, to: 'crawler-1' }));
      expect(await client.do('next')).toBe('job_assignment');
      await client.do('invalid');
      await client.do('flush 30');
      await until(() => client.rejected.length > 0);
      expect(client.rejected).toEqual(['RULE_VIOLATION']);
      expect(await client.do('statistics')).toEqual({ rejected: 1, resent: 0, connections: 1 });
      // Longer than any read, and than the broker accepts.
      await client.do('large 0 400000');
      expect(await client.do('large 1 600000')).toBe('ValueError');
      await client.do('flush 30');
      expect(types.filter((type) => type === 'job_progress')).toHaveLength(101);
      expect(await client.do('close')).toBe(0);
    },
  );

  test.skipIf(missing.length > 0)(
    `sends again what a broker without a log has not confirmed, and waits while the broker is behind${without(missing)}`,
    async () => {
      const socketPath = join(temporaryFolder(), 'broker.sock');
      const options = { socketPath, maxPendingBytes: 256 * 1024 };
      const broker = await startPlainBroker(options);
      const ledger = new Ledger();
      const subscriber = await (await broker.connect()).subscribe({
        overflow: 'block',
        types: ['job_progress'],
      });
      subscriber.socket.pause();
      const client = run(socketPath, { MAX_UNCONFIRMED: String(256 * 1024) });
      client.send('publish 0 8000');
      client.send('flush 60');
      // It cannot publish all of it while nobody reads.
      await until(() => broker.manager.getMetrics().flow.blockedSubscribers > 0);
      await new Promise((resolve) => setTimeout(resolve, 500));
      expect(client.hasAnswer).toBe(false);
      read(subscriber, ledger);
      subscriber.socket.resume();
      expect([await client.answer(), await client.answer()]).toEqual(['published', 'flushed']);
      await until(() => ledger.total >= 8000);
      expect(ledger.faults(1, 8000)).toEqual([]);
      await broker.manager.stop();
      await client.do('publish 8000 8010');
      expect(await client.do('flush 0.2')).toBe('TimeoutError');
      const second = await startPlainBroker(options);
      const received = await (await second.connect()).subscribe({ types: ['job_progress'] });
      expect(await client.do('flush 30')).toBe('flushed');
      await received.settled();
      expect(await client.do('close')).toBe(0);
    },
  );

  test.skipIf(missing.length > 0)(`ends if its token is wrong${without(missing)}`, async () => {
    const broker = await startPlainBroker({ auth: { tokens: { crawler: ['the-token-of-crawlers'] } } });
    const client = run(broker.socketPath, { TOKEN: 'another-token-than-that' });
    await client.do('publish 0 1');
    expect(await client.do('flush 60')).toBe('UNAUTHORIZED');
    expect(await client.do('publish 0 1')).toBe('UNAUTHORIZED');
    // Also if nothing could be published.
    expect(await client.do('flush 60')).toBe('UNAUTHORIZED');
    expect(await client.do('drain')).toBe('UNAUTHORIZED');
    const right = run(broker.socketPath, { TOKEN: 'the-token-of-crawlers' });
    await right.do('publish 0 1');
    expect(await right.do('close')).toBe(0);
    expect(await right.do('drain')).toBe('CONNECTION_CLOSED');
  });

  test.skipIf(missing.length > 0)(
    `reports a heartbeat that cannot be encoded, and ends${without(missing)}`,
    async () => {
      const broker = await ScriptedBroker.start();
      const client = run(broker.socketPath, { ACTIVE_JOBS: 'nan' });
      expect(await client.do('drain')).toBe('ValueError');
      expect(await client.do('publish 0 1')).toBe('ValueError');
      expect(await client.do('close')).toBe(0);
      expect(broker.connections).toHaveLength(1);
    },
  );

  test.skipIf(missing.length > 0)(
    `closes while more messages arrive than it may receive${without(missing)}`,
    async () => {
      const broker = await ScriptedBroker.start();
      broker.answer = welcomeThen(MESSAGE.repeat(1500));
      const client = run(broker.socketPath, { MAX_RECEIVED: '1' });
      expect(await client.do('next')).toBe('job_cancel');
      await client.do('close 0.1');
      expect(await client.do('statistics')).toMatchObject({ connections: 1 });
    },
  );

  test.skipIf(missing.length > 0)(
    `ends if the broker rejects it after a reconnect, also with messages that nobody takes${without(missing)}`,
    async () => {
      const broker = await ScriptedBroker.start();
      broker.answer = welcomeThen(MESSAGE.repeat(3));
      const client = run(broker.socketPath, { MAX_RECEIVED: '1' });
      await client.do('publish 0 1');
      await until(() => broker.received.some(({ type }) => type === 'ping'));
      broker.answer = () => errorLine('UNAUTHORIZED');
      broker.connections[0]?.destroy();
      await client.do('publish 1 2');
      await until(() => broker.connections.length > 1);
      expect(await client.do('flush 30')).toBe('UNAUTHORIZED');
      expect(await client.do('drain')).toBe('UNAUTHORIZED');
    },
  );

  test.skipIf(missing.length > 0)(
    `does not wait for a broker that reads nothing${without(missing)}`,
    async () => {
      const broker = await ScriptedBroker.start();
      broker.answer = (message, connection) => {
        connection.pause();
        return answerAsBroker(message);
      };
      const [closing, replaced] = [run(broker.socketPath), run(broker.socketPath)];
      for (const client of [closing, replaced])
        for (let number = 0; number < 3; number++) await client.do(`large ${number} 400000`);
      await until(() => broker.connections.length === 2);
      expect(await closing.do('close 0.1')).toBeGreaterThanOrEqual(3);
      for (const connection of broker.connections) connection.write(`${errorLine('REPLACED')}\n`);
      expect(await replaced.do('flush 30')).toBe('REPLACED');
    },
  );

  test.skipIf(missing.length > 0)(
    `keeps its connection while it receives more than it may${without(missing)}`,
    async () => {
      const broker = await ScriptedBroker.start();
      broker.answer = welcomeThen(MESSAGE.repeat(3), { heartbeatInterval: 100 });
      const client = run(broker.socketPath, { MAX_RECEIVED: '1', SILENCE: '0.2', ACTIVE_JOBS: '' });
      // It does not read the pings, and the time for which it reads nothing is not the broker's silence.
      await until(() => broker.received.filter(({ type }) => type === 'pong').length > 1);
      for (let number = 0; number < 3; number++) expect(await client.do('next')).toBe('job_cancel');
      expect(await client.do('statistics')).toMatchObject({ connections: 1 });
    },
  );

  test.skipIf(missing.length > 0)(
    `publishes what its callback for rejections does, also if it has to wait for room${without(missing)}`,
    async () => {
      const broker = await ScriptedBroker.start();
      broker.answer = rejectFirst();
      // There is room for one message.
      const client = run(broker.socketPath, {
        MAX_UNCONFIRMED: '1',
        ON_REJECTED: 'publish',
        ACTIVE_JOBS: '',
      });
      await client.do('publish 0 1');
      expect(await client.do('flush 30')).toBe('flushed');
      await until(() => client.rejected.length > 0);
      expect(await client.do('flush 30')).toBe('flushed');
      const numbers = broker.received
        .filter(({ type }) => type === 'job_progress')
        .map(({ data }) => data.processed);
      expect(numbers).toEqual([0, 1000]);
    },
  );

  test.skipIf(missing.length > 0)(
    `can be closed by its callback for rejections${without(missing)}`,
    async () => {
      const broker = await ScriptedBroker.start();
      broker.answer = rejectFirst();
      const client = run(broker.socketPath, { ON_REJECTED: 'close', ACTIVE_JOBS: '' });
      await client.do('publish 0 1');
      await until(() => client.rejected.length > 0);
      expect(await client.do('drain')).toBe('CONNECTION_CLOSED');
      expect(await client.do('close')).toBe(0);
    },
  );

  test.skipIf(missing.length > 0)(
    `reconnects less and less often if the broker closes each connection at once${without(missing)}`,
    async () => {
      const broker = await ScriptedBroker.start();
      const times: number[] = [];
      broker.answer = (message, connection) => {
        if (message.type !== 'hello') return undefined;
        const isWelcome = times.push(performance.now()) % 2 === 0;
        connection.end(`${isWelcome ? answerAsBroker(message) : errorLine('MAX_CONNECTIONS')}\n`);
        return undefined;
      };
      run(broker.socketPath);
      await until(() => times.length === 6);
      const delay = (index: number) => (times[index + 1] ?? 0) - (times[index] ?? 0);
      // The upper bounds of the delays double: 100 ms, …, 1600 ms. Half of each is the lower bound.
      expect(delay(4)).toBeGreaterThan(delay(0) + delay(1));
    },
  );

  test.skipIf(missing.length > 0)(
    `does not wait for a broker that does not answer its hello${without(missing)}`,
    async () => {
      const broker = await ScriptedBroker.start();
      broker.answer = () => undefined;
      const client = run(broker.socketPath);
      await client.do('publish 0 1');
      await until(() => broker.received.length > 0);
      expect(await client.do('close 0.1')).toBe(1);
    },
  );
});

test.skipIf(PYTHON.missing.length > 0)(
  `the Python client waits without work while the broker does not read${without(PYTHON.missing)}`,
  async () => {
    const broker = await ScriptedBroker.start();
    broker.answer = (message, connection) => {
      connection.pause();
      return answerAsBroker(message);
    };
    const client = new Driver(PYTHON.driver(), broker.socketPath, { ACTIVE_JOBS: '' });
    // More than the socket takes; what remains when it is full has too few bytes for a ping at once.
    await client.do('slowly 200');
    const cpuTime = async () => Number(await client.do('cpu'));
    const before = await cpuTime();
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect((await cpuTime()) - before).toBeLessThan(25);
  },
);

test.skipIf(installed.length === 0)(
  `the clients in ${installed.map(({ name }) => name).join(' and ')} lose and repeat nothing when a broker with a durable log is killed`,
  async () => {
    const log = join(temporaryFolder(), 'log');
    const socketPath = join(temporaryFolder(), 'broker.sock');
    // Without patterns, it starts in half the time.
    const flags = ['--log', log, '--patterns', 'off'];
    let broker = await BrokerProcess.start(flags, socketPath);
    const clients = installed.map(
      ({ driver }, index) =>
        new Driver(driver(), socketPath, { CRAWLER_ID: `crawler-${index}`, PRODUCER: String(index) }),
    );
    const all = (command: string) => Promise.all(clients.map((client) => client.do(command)));
    await all('publish 0 1');
    await all('flush 60');
    let next = 1;
    for (let kill = 0; kill < 2; kill++) {
      // All of it is in the clients' memory, and some of it has arrived.
      await all(`publish ${next} ${next + 1000}`);
      next += 1000;
      broker.run.child.kill('SIGKILL');
      await broker.run.exited;
      broker = await BrokerProcess.start(flags, socketPath);
      // For this one, they need a connection.
      await all(`publish ${next} ${++next}`);
      expect(await all('flush 60')).toEqual(clients.map(() => 'flushed'));
    }
    for (const statistics of await all('statistics'))
      expect(statistics).toMatchObject({ rejected: 0, connections: 3 });
    const ledger = new Ledger();
    const reader = await Peer.connect(socketPath);
    read(reader, ledger);
    reader.say('subscribe', { id: 's', from: 'first', types: ['job_progress'] });
    await until(() => ledger.total >= clients.length * next);
    for (const producer of clients.keys()) expect(ledger.faults(producer, next)).toEqual([]);
    await reader.close();
    expect(await all('close')).toEqual(clients.map(() => 0));
  },
);
