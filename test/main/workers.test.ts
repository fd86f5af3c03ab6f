import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { Secret } from '../../src/base/secret.ts';
import { parseConfig } from '../../src/config/load.ts';
import { BackOff } from '../../src/main/workers/back-off.ts';
import { LineFeed } from '../../src/main/workers/line-feed.ts';
import { LineRelay } from '../../src/main/workers/line-relay.ts';
import type { EventLines, ToWorker } from '../../src/main/workers/messages.ts';
import { fromPortable, toPortable } from '../../src/main/workers/portable.ts';
import { type Member, Switchboard } from '../../src/main/workers/switchboard.ts';
import type { Snapshot } from '../../src/metrics/merge.ts';

describe('a configuration for a worker', () => {
  it('arrives as it was, through what the channel carries', () => {
    const text = `
tokens: { pepper: { env: PEPPER } }
listen: { trusted_proxies: [10.0.0.0/8] }
store: { kind: redis, url: "redis://127.0.0.1:1/0" }
upstreams:
  orders: { url: "http://127.0.0.1:9000/x", credential: { header: x-key, value: { env: PEPPER } } }
`;
    const { config } = parseConfig(text, '/nowhere/portcullis.yaml', { PEPPER: 'a secret of some length' });
    const arrived = fromPortable(structuredClone(toPortable(config)));
    expect(arrived).toEqual(config);
    const { tokens, upstreams } = arrived as NonNullable<typeof config>;
    expect(tokens.pepper).toBeInstanceOf(Secret);
    expect(tokens.pepper?.reveal()).toBe('a secret of some length');
    expect(upstreams.get('orders')?.url).toBeInstanceOf(URL);
    expect(upstreams.get('orders')?.credential?.value.value.reveal()).toBe('a secret of some length');
    const odd = { sizes: new Set([1, 2]), bytes: new Uint8Array([3]), nothing: undefined, none: null };
    expect(fromPortable(structuredClone(toPortable(odd)))).toEqual(odd);
  });

  it('is refused where it holds what would not', () => {
    expect(() => toPortable({ since: new Date() })).toThrow('a worker cannot be handed a Date');
    expect(() => toPortable([() => 1])).toThrow('a worker cannot be handed a function');
  });
});

describe('the pause before a worker is started again', () => {
  it('is none for one that served, and grows while it ends again and again', () => {
    const backOff = new BackOff();
    expect([0, 0, 0, 0].map(() => backOff.pauseAfter(100))).toEqual([0, 500, 1000, 2000]);
    expect([backOff.pauseAfter(60_000), backOff.inARow]).toEqual([0, 1]);
    expect(Array.from({ length: 12 }, () => backOff.pauseAfter(0)).at(-1)).toBe(30_000);
  });
});

describe('the lines of several processes on one stream', () => {
  it('stay whole, also the last one of a process that was killed', async () => {
    const to = new PassThrough();
    const relay = new LineRelay(to);
    const write = (letter: string) => `
      const line = '${letter}'.repeat(20_000) + '\\n';
      for (let i = 0; i < 50; i += 1) require('node:fs').writeSync(1, line);
      require('node:fs').writeSync(1, '${letter}'.repeat(9));`;
    const children = ['a', 'b', 'c'].map((letter) =>
      spawn(process.execPath, ['-e', write(letter)], { stdio: ['ignore', 'pipe', 'inherit'] }),
    );
    let text = '';
    to.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    for (const { stdout } of children) relay.add(stdout);
    await Promise.all(children.map((child) => once(child, 'close')));
    const lines = text.split('\n').slice(0, -1);
    expect(lines).toHaveLength(153);
    expect(lines.filter((line) => !/^(a+|b+|c+)$/.test(line))).toEqual([]);
    expect(new Set(lines.map((line) => line.length))).toEqual(new Set([20_000, 9]));
  });

  it('wait for a reader that is slow', async () => {
    const to = new PassThrough({ highWaterMark: 1024 });
    const from = new PassThrough();
    new LineRelay(to).add(from);
    for (let i = 0; i < 100; i += 1) from.write(`${'x'.repeat(999)}\n`);
    await new Promise((resolve) => setImmediate(resolve));
    expect(to.readableLength + to.writableLength).toBeLessThan(50_000);
    from.end();
    let read = 0;
    for (; read < 100_000; await new Promise((resolve) => setImmediate(resolve))) read += to.read()?.length ?? 0;
    expect(read).toBe(100_000);
  });
});

describe('events on their way to another process', () => {
  it('are left out and counted where it does not read', () => {
    const sent: { message: EventLines; done: () => void }[] = [];
    const feed = new LineFeed((message, done) => void sent.push({ message, done }));
    const megabyte = ['x'.repeat(1024 * 1024)];
    for (let i = 0; i < 10; i += 1) feed.send(megabyte);
    expect(sent.map(({ message }) => message.missed)).toEqual([0, 0, 0, 0, 0]);
    for (const { done } of sent) done();
    feed.send(['y'], 2);
    expect(sent.at(-1)?.message).toEqual({ type: 'lines', lines: ['y'], missed: 7 });
  });
});

class TestMember implements Member {
  readonly worker: number;
  readonly received: ToWorker[] = [];

  constructor(worker: number) {
    this.worker = worker;
  }

  send(message: ToWorker, sent?: () => void): void {
    this.received.push(message);
    sent?.();
  }
}

function snapshot(requests: number): Snapshot {
  const samples = [{ suffix: '', labels: [], value: requests }];
  return { countedAt: 0, families: [{ name: 'requests_total', help: '', type: 'counter', samples }] };
}

describe('what workers ask each other', () => {
  const one = new TestMember(1);
  const two = new TestMember(2);
  const board = new Switchboard();
  for (const member of [one, two]) board.join(member);

  function lastQuestion(member: TestMember): number {
    const asked = member.received.at(-1);
    if (asked?.type !== 'question') throw new Error('nothing was asked');
    return asked.id;
  }

  it('is answered by the others, each under its number', () => {
    board.receive(one, { type: 'ask', id: 7, question: 'ready', own: null });
    board.receive(two, { type: 'answer', id: lastQuestion(two), value: { ready: true, reasons: [] } });
    const answers = [{ worker: 2, value: { ready: true, reasons: [] } }];
    expect(one.received.at(-1)).toEqual({ type: 'answers', id: 7, answers });
  });

  it('is answered without those who end meanwhile, and what these had counted stays', () => {
    board.receive(one, { type: 'ask', id: 8, question: 'metrics', own: snapshot(5) });
    board.receive(two, { type: 'answer', id: lastQuestion(two), value: snapshot(3) });
    expect(one.received.at(-1)).toMatchObject({ id: 8, answers: [{ worker: 2, value: snapshot(3) }] });
    board.receive(one, { type: 'ask', id: 9, question: 'metrics', own: snapshot(6) });
    board.receive(two, { type: 'counted', snapshot: snapshot(4) });
    board.leave(two);
    const left = one.received.at(-1);
    expect(left).toMatchObject({ type: 'answers', id: 9, answers: [{ worker: 0 }] });
    expect(left?.type === 'answers' ? left.answers[0]?.value : null).toMatchObject({ families: snapshot(4).families });
  });

  it('does not make a worker publish for nobody', () => {
    const three = new TestMember(3);
    board.join(three);
    expect(three.received).toEqual([]);
    board.receive(one, { type: 'follow', wanted: true });
    const four = new TestMember(4);
    board.join(four);
    expect([three, four].map(({ received }) => received.at(-1))).toEqual(
      Array(2).fill({ type: 'publish', wanted: true }),
    );
    board.receive(three, { type: 'lines', lines: ['x'], missed: 0 });
    expect(one.received.at(-1)).toEqual({ type: 'lines', lines: ['x'], missed: 0 });
    expect(four.received.at(-1)).toEqual({ type: 'publish', wanted: true });
    board.leave(one);
    expect(four.received.at(-1)).toEqual({ type: 'publish', wanted: false });
  });
});
