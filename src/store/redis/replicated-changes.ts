import { Fault } from '../../model/fault.ts';
import type { RedisLink } from './redis-link.ts';
import { CONFIRM, SCRIPTS } from './scripts.ts';

/** How many replicas have to hold a change, and how long they have for it. */
export interface ReplicaWait {
  readonly replicas: number;
  readonly timeoutMs: number;
}

/**
 * Changes that count only when so many replicas hold them (Redis command WAIT), so that a failover to one of those
 * cannot lose them. One that did not reach enough replicas is a Fault `store_unavailable`, and may stand all the same.
 *
 * WAIT holds its connection up, so this is another one than that of the reads.
 */
export class ReplicatedChanges {
  readonly #link: RedisLink;
  readonly #wait: ReplicaWait;

  constructor(link: RedisLink, wait: ReplicaWait) {
    this.#link = link;
    this.#wait = wait;
  }

  /** Resolves with the script's reply. */
  script(
    name: 'createToken' | 'replaceToken' | 'replaceAndAppend' | 'putMark',
    keys: readonly [string, ...string[]],
    args: readonly (string | number)[],
  ): Promise<unknown> {
    // EVAL, not EVALSHA: a script that Redis has forgotten would be sent again behind the WAIT.
    return this.#confirmed(keys[0], (pipeline) => pipeline.eval(SCRIPTS[name].lua, keys.length, ...keys, ...args));
  }

  async addToIndex(key: string, member: string): Promise<void> {
    await this.#confirmed(key, (pipeline) => pipeline.zadd(key, 0, member));
  }

  /** Makes sure that whatever is written at `key` has reached the replicas, whoever wrote it. */
  async confirm(key: string): Promise<void> {
    await this.#confirmed(key, (pipeline) => pipeline.eval(CONFIRM, 1, key));
  }

  async #confirmed(key: string, queue: Parameters<RedisLink['runTogether']>[1]): Promise<unknown> {
    const { replicas, timeoutMs } = this.#wait;
    const [reply, reached] = await this.#link.runTogether(key, (pipeline) => queue(pipeline).wait(replicas, timeoutMs));
    if (typeof reached === 'number' && reached >= replicas) return reply;
    const what = `the change has reached ${String(reached)} of ${replicas} replicas within ${timeoutMs} ms`;
    throw new Fault('store_unavailable', `${this.#link.place}: ${what}; it may stand all the same`);
  }
}
