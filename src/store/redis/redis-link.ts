import type { ChainableCommander, ClientContext, Cluster, Redis, RedisCommander } from 'ioredis';
import { Fault } from '../../model/fault.ts';
import type { Availability } from '../availability.ts';
import type { RedisClient } from './client.ts';
import { lacksPermission, redisFault } from './redis-fault.ts';

/** The commands that standalone servers, sentinels and clusters have in common. */
export type RedisCommands = RedisCommander<ClientContext & { readonly type: 'default'; readonly mapping: 'resp2' }>;

/** Pause before a client that has given up is started again, milliseconds. */
const REVIVE_MS = 1000;

/** Different refusals that are told, each once; there are fewer commands than that. */
const MAX_COMPLAINTS = 64;

/** A connection that comes back by itself. While it is away, every operation fails at once with `store_unavailable`. */
export class RedisLink {
  readonly #client: Redis | Cluster;
  readonly #commands: RedisCommands;
  readonly #place: string;
  readonly #secrets: readonly string[];
  readonly #timeoutMs: number;
  readonly #availability: Availability;
  readonly #complain: (message: string) => void;
  readonly #complaints = new Set<string>();
  #closed = false;
  #revival: NodeJS.Timeout | null = null;
  /** Why the last attempt to connect failed. */
  #trouble: string | null = null;

  /** `complain` hears of what the Redis user is not allowed to do; each thing once. */
  constructor(
    { client, place, secrets }: RedisClient,
    timeoutMs: number,
    availability: Availability,
    complain: (message: string) => void = () => undefined,
  ) {
    this.#client = client;
    this.#commands = client;
    this.#place = place;
    this.#secrets = secrets;
    this.#timeoutMs = timeoutMs;
    this.#availability = availability;
    this.#complain = complain;
  }

  /** Resolves when Redis is ready, has failed once, or `timeoutMs` have passed. Never rejects. */
  async start(): Promise<void> {
    // Without a listener an `error` event would end the process.
    this.#client.on('error', (error: unknown) => {
      this.#trouble = this.#text(error);
    });
    this.#client.on('ready', () => {
      this.#trouble = null;
      this.#availability.markRestored();
    });
    this.#client.on('close', () => this.#availability.markLost());
    this.#client.on('end', () => this.#revive());
    let timer: NodeJS.Timeout | undefined;
    const patience = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, this.#timeoutMs);
    });
    await Promise.race([this.#connect(), patience]);
    clearTimeout(timer);
    if (this.#client.status !== 'ready') this.#availability.markLost();
  }

  /** Runs an operation; whatever it fails with is thrown as a Fault. */
  async run<T>(operation: (commands: RedisCommands) => Promise<T>): Promise<T> {
    if (this.#closed) throw new Fault('store_unavailable', `${this.#place}: the store is closed`);
    try {
      return await operation(this.#commands);
    } catch (error) {
      const fault = redisFault(error, this.#place, (failure) => this.#describe(failure));
      if (lacksPermission(error)) this.#complainOnce(fault.message);
      throw fault;
    }
  }

  /**
   * Sends commands in one piece over one connection to the server of `key`, and gives their replies. Nothing is sent
   * again on another connection, so that a command which speaks of the ones before it (WAIT) speaks of these.
   */
  async runTogether(key: string, queue: (commands: ChainableCommander) => ChainableCommander): Promise<unknown[]> {
    return this.run(async (redis) => {
      const send = async (): Promise<unknown[]> => {
        const results = (await queue(this.#client.pipeline()).exec()) ?? [];
        return results.map(([error, reply]) => {
          if (error !== null) throw error;
          return reply;
        });
      };
      try {
        return await send();
      } catch (error) {
        // The slot is elsewhere now, and nothing was done. A read is led there, and the client learns the way.
        if (!(error instanceof Error) || !error.message.startsWith('MOVED ')) throw error;
        await redis.exists(key);
        return await send();
      }
    });
  }

  /** Whether Redis is known to be out of reach. */
  get lost(): boolean {
    return this.#availability.lost;
  }

  /** Where the store is, for people. */
  get place(): string {
    return this.#place;
  }

  /** Lets the answers that are under way arrive, within the time limit of one command. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#availability.silence();
    if (this.#revival !== null) clearTimeout(this.#revival);
    if (this.#client.status === 'ready') await this.#client.quit().catch(() => undefined);
    this.#client.disconnect();
  }

  #complainOnce(message: string): void {
    if (this.#complaints.has(message) || this.#complaints.size >= MAX_COMPLAINTS) return;
    this.#complaints.add(message);
    this.#complain(message);
  }

  async #connect(): Promise<void> {
    try {
      await this.#client.connect();
    } catch (error) {
      this.#trouble ??= this.#text(error);
    }
  }

  /** ioredis ends for good where, say, no sentinel could be asked; we never give up. */
  #revive(): void {
    this.#availability.markLost();
    if (this.#closed || this.#revival !== null) return;
    this.#revival = setTimeout(() => {
      this.#revival = null;
      void this.#connect();
    }, REVIVE_MS);
  }

  #describe(error: unknown): string {
    const text = this.#text(error);
    if (text === 'Command timed out') return `no answer within ${this.#timeoutMs} ms`;
    if (error instanceof Error && error.name === 'ReplyError') return text;
    return this.#client.status === 'ready' ? text : `not connected: ${this.#trouble ?? text}`;
  }

  /**
   * The message alone, without any password; Redis repeats the arguments of a command that it does not know, AUTH
   * for one. A host with several addresses fails with a list of errors and no message of its own.
   */
  #text(error: unknown): string {
    if (!(error instanceof Error)) return 'an unknown error';
    const inner = 'lastNodeError' in error && error.lastNodeError instanceof Error ? error.lastNodeError : error;
    const code = 'code' in inner && typeof inner.code === 'string' ? inner.code : inner.name;
    const text = inner.message === '' ? code : inner.message.replace(/, with args beginning with:.*/s, '');
    return this.#secrets.reduce((safe, secret) => safe.replaceAll(secret, '[secret]'), text);
  }
}
