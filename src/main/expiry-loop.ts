import { setTimeout as sleep } from 'node:timers/promises';
import type { Clock } from '../base/clock.ts';
import type { ExpiryWatch } from '../lifecycle/expire.ts';
import type { Logger } from '../metrics/log.ts';
import type { CompiledPolicy } from '../policy/compiled-policy.ts';

/** How often it is looked for what was just issued and what comes due. */
const GLANCE_MS = 2_000;
/** How often every token is looked at; sooner for a class with a short `idle_expiry`. */
const WALK_MS = 60_000;
/** A walk takes at most this part of the time, however many tokens there are. */
const IDLE_RATIO = 20;

/** Watches the ends of tokens in the background, for as long as the process runs. */
export class ExpiryLoop {
  readonly #watch: ExpiryWatch;
  readonly #policy: () => CompiledPolicy | null;
  readonly #flushUses: () => Promise<void>;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #stop = new AbortController();
  #running: Promise<void> = Promise.resolve();

  constructor(
    watch: ExpiryWatch,
    parts: {
      readonly policy: () => CompiledPolicy | null;
      /** Writes out what this process knows of uses, so that a token in use does not look idle. */
      readonly flushUses: () => Promise<void>;
      readonly clock: Clock;
      readonly log: Logger;
    },
  ) {
    this.#watch = watch;
    this.#policy = parts.policy;
    this.#flushUses = parts.flushUses;
    this.#clock = parts.clock;
    this.#log = parts.log;
  }

  start(): void {
    this.#running = this.#run();
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    let nextWalk = 0;
    while (!signal.aborted) {
      const began = this.#clock.monotonic();
      try {
        if (began >= nextWalk) {
          await this.#flushUses();
          await this.#watch.walk(WALK_MS + GLANCE_MS, signal);
          const took = this.#clock.monotonic() - began;
          nextWalk = began + Math.max(this.#walkEvery(), took * IDLE_RATIO);
        } else await this.#watch.glance(WALK_MS + GLANCE_MS, signal);
      } catch (error) {
        // The next round sees the same tokens again.
        this.#log.debug({ err: error }, 'the ends of tokens could not be looked at');
      }
      await sleep(GLANCE_MS, undefined, { signal, ref: false }).catch(() => undefined);
    }
  }

  #walkEvery(): number {
    const idle = [...(this.#policy()?.classes.values() ?? [])].flatMap(({ idleExpiryMs }) => idleExpiryMs ?? []);
    return Math.max(GLANCE_MS, Math.min(WALK_MS, ...idle.map((ms) => ms / 10)));
  }
}
