import { unlink } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import type { AgentLog } from './agent-log.ts';
import { type Hooks, hasHooks, runHooks } from './hooks.ts';
import type { Alive, Dead, Failed, OwnToken, OwnTokenClient } from './own-token-client.ts';
import { retryPause, rotationDue, spanForPeople, type TokenLife, urgency } from './schedule.ts';
import { type Leftover, messageOf, type ReservedPlace, type TokenFile } from './token-file.ts';

export interface KeeperOptions {
  readonly file: TokenFile;
  readonly client: OwnTokenClient;
  readonly hooks: Hooks;
  readonly rotateBeforeMs: number | null;
  readonly grace: string | null;
  readonly checkEveryMs: number;
  readonly log: AgentLog;
  /** Called when the token has turned out to be dead. */
  readonly onDead: () => void;
}

type Outcome = { readonly kind: 'kept' } | Dead | Failed;

/** Longest sleep without a look at the wall clock, which may have been set, and at the file. */
const NAP_MS = 60_000;

/** So old is a place without a secret that nobody is still writing to it. */
const ABANDONED_MS = 10 * 60_000;

/** Attempts of one pass, and attempts to write a secret after a stop. */
const ATTEMPTS = 3;

/** Keeps the token of one file fresh. Everything happens one after the other; nothing throws for what may pass. */
export class Keeper {
  readonly #options: KeeperOptions;
  #dead = false;
  #secret: string | null = null;
  #token: OwnToken | null = null;
  #life: (TokenLife & { readonly due: number }) | null = null;
  #clockAheadMs = 0;
  #failures = 0;
  #untoldFailures = 0;
  /** On our clock: before that there is nothing to ask the gateway. */
  #nextLook = 0;

  constructor(options: KeeperOptions) {
    this.#options = options;
  }

  get dead(): boolean {
    return this.#dead;
  }

  /** Goes on until `stop`. A dead token is waited over: an operator may put a new one into the file. */
  async run(stop: AbortSignal): Promise<void> {
    while (!stop.aborted) {
      if (this.#dead) {
        await this.#sleepUntil(Number.POSITIVE_INFINITY, stop);
        continue;
      }
      if (Date.now() >= this.#nextLook) await this.#look(stop);
      if (stop.aborted || this.#dead) continue;
      const pause = await this.#tell(stop);
      await this.#sleepUntil(pause === null ? this.#nextLook : Math.min(this.#nextLook, Date.now() + pause), stop);
    }
  }

  /** One pass. True when the token is fresh and everybody has been told. */
  async once(stop: AbortSignal): Promise<boolean> {
    for (let attempt = 1; ; attempt += 1) {
      const { kind } = await this.#look(stop);
      if (kind === 'kept') break;
      if (kind === 'dead' || attempt === ATTEMPTS || stop.aborted) return false;
      await nap(retryPause(attempt, null, Math.random), stop);
    }
    for (let attempt = 1; attempt <= ATTEMPTS && !stop.aborted; attempt += 1) {
      const pause = await this.#tell(stop);
      if (pause === null) return true;
      if (attempt < ATTEMPTS) await nap(pause, stop);
    }
    return false;
  }

  /** Asks how the token is, renews it if it is time, and says when to look again. */
  async #look(stop: AbortSignal): Promise<Outcome> {
    const outcome = await this.#renewIfDue(stop).catch(
      (error: unknown): Outcome => ({ kind: 'failed', why: messageOf(error) }),
    );
    if (outcome.kind === 'kept') {
      if (this.#failures > 0) this.#options.log.info(this.#fields(), 'the token is in order again');
      this.#failures = 0;
    } else if (outcome.kind === 'dead') {
      this.#die(outcome.reason);
    } else if (!stop.aborted) {
      this.#fail(outcome.why);
    }
    return outcome;
  }

  async #renewIfDue(stop: AbortSignal): Promise<Outcome> {
    const { file, client } = this.#options;
    const secret = await file.read();
    this.#secret = secret;
    const first = await client.status(secret, stop);
    const state = await this.#heal(first, await file.leftovers(Date.now()), stop);
    if (state.kind === 'failed') return state;
    if (state.kind === 'dead') {
      // Somebody may have replaced the file while we asked.
      return (await file.read()) === secret ? state : await this.#renewIfDue(stop);
    }
    this.#learn(state.token, state.clockAheadMs);
    const now = this.#gatewayNow();
    if (state.superseded || now >= (this.#life?.due ?? 0)) return await this.#rotate(stop);
    this.#nextLook = Date.now() + Math.min(this.#options.checkEveryMs, (this.#life?.due ?? now) - now);
    return { kind: 'kept' };
  }

  async #rotate(stop: AbortSignal): Promise<Outcome> {
    const { file, client, grace, log } = this.#options;
    const old = await file.read();
    const place = await file.reserve();
    const answer = await client.rotate(old, grace);
    if (answer.kind !== 'rotated') {
      await place.abandon();
      return answer;
    }
    await this.#keep(answer.secret, place, stop);
    this.#secret = answer.secret;
    this.#learn(answer.token, this.#clockAheadMs);
    log.info({ ...this.#fields(), grace_until: rfc3339(answer.token.graceUntil) }, 'the token has been rotated');
    const now = this.#gatewayNow();
    const graceUntil = answer.token.graceUntil ?? now;
    if (graceUntil <= now) {
      log.warn(this.#fields(), 'the old secret has no grace: a lost answer to a rotation would lose the token');
    }
    // A class may end the old secret as soon as the new one has been used. Its readers are to use it first, not we.
    const due = this.#life?.due ?? now;
    this.#nextLook = Date.now() + Math.min(due - now, Math.max(this.#options.checkEveryMs, graceUntil - now));
    return { kind: 'kept' };
  }

  /** The answer to a rotation is the only copy of the secret: it is let go only when it is in the file. */
  async #keep(secret: string, place: ReservedPlace, stop: AbortSignal): Promise<void> {
    const { file, hooks, log } = this.#options;
    for (let attempt = 1; ; attempt += 1) {
      try {
        const into = attempt === 1 ? place : await file.reserve();
        await into.store(secret);
        if (hasHooks(hooks)) await file.noteChange();
        return await into.publish();
      } catch (error) {
        // Another agent on the same file may have come to the end of it for us.
        if ((await file.read().catch(() => null)) === secret) return;
        log.error({ ...this.#fields(), why: messageOf(error) }, 'the new secret cannot be written; trying again');
        if (stop.aborted && attempt >= ATTEMPTS) throw error;
        await nap(retryPause(attempt, null, Math.random), stop);
      }
    }
  }

  /** Puts a rotation that a crash has cut off to its end, or throws its remains away. */
  async #heal(
    current: Alive | Dead | Failed,
    leftovers: readonly Leftover[],
    stop: AbortSignal,
  ): Promise<Alive | Dead | Failed> {
    const { file, client, hooks, log } = this.#options;
    let best = current;
    for (const leftover of leftovers) {
      if (best.kind === 'failed') return best;
      if (leftover.secret === null && leftover.ageMs < ABANDONED_MS) continue;
      const known = leftover.secret === null || leftover.secret === this.#secret;
      const answer: Alive | Dead | Failed =
        leftover.secret === null || known
          ? { kind: 'dead', reason: 'token_superseded' }
          : await client.status(leftover.secret, stop);
      if (answer.kind === 'failed') return answer;
      if (worth(answer) > worth(best)) {
        if (hasHooks(hooks)) await file.noteChange();
        await file.adopt(leftover);
        this.#secret = leftover.secret;
        log.info({ ...this.#fields() }, 'the end of a rotation that was cut off has been made up for');
        best = answer;
      } else {
        await unlink(leftover.path).catch(() => undefined);
      }
    }
    return best;
  }

  /** Runs the hooks for a change that nobody was told of. Null when there is nothing left to tell, else a pause. */
  async #tell(stop: AbortSignal): Promise<number | null> {
    const { file, hooks, log } = this.#options;
    if (!hasHooks(hooks) || !(await file.changeIsUntold())) return null;
    const failure = await runHooks(hooks, { path: file.path, tokenId: this.#token?.id ?? '' }, stop);
    if (failure === null) {
      await file.forgetChange();
      this.#untoldFailures = 0;
      log.info(this.#fields(), 'the change has been told');
      return null;
    }
    this.#untoldFailures += 1;
    if (!stop.aborted) log.warn({ ...this.#fields(), why: failure }, 'the change could not be told; trying again');
    return retryPause(this.#untoldFailures, null, Math.random);
  }

  #learn(token: OwnToken, clockAheadMs: number): void {
    this.#token = token;
    this.#clockAheadMs = clockAheadMs;
    const { expiresAt, rotateAfter } = token;
    const life = { startedAt: token.startedAt ?? this.#life?.startedAt ?? this.#gatewayNow(), expiresAt, rotateAfter };
    this.#life = { ...life, due: rotationDue(life, this.#options.rotateBeforeMs) };
  }

  #fail(why: string): void {
    this.#failures += 1;
    const remaining = this.#life === null ? null : this.#life.expiresAt - this.#gatewayNow();
    const pause = retryPause(this.#failures, remaining, Math.random);
    this.#nextLook = Date.now() + pause;
    const near = this.#life !== null && urgency(this.#life, this.#life.due, this.#gatewayNow()) > 0;
    const message = near
      ? 'the token could not be renewed and its end is near; trying again'
      : 'the token could not be looked after; trying again';
    this.#options.log.warn({ ...this.#fields(), failures: this.#failures, why }, message);
  }

  #die(reason: string): void {
    this.#dead = true;
    const todo = `issue a new token and put it into ${this.#options.file.name}`;
    this.#options.log.error({ ...this.#fields(), reason }, `the token is dead and cannot be renewed: ${todo}`);
    this.#options.onDead();
  }

  /** Wakes early, and looks at once, when somebody else has replaced the file. */
  async #sleepUntil(moment: number, stop: AbortSignal): Promise<void> {
    while (!stop.aborted) {
      const left = moment - Date.now();
      if (left <= 0) return;
      await nap(Math.min(left, NAP_MS, this.#options.checkEveryMs), stop);
      const secret = await this.#options.file.read().catch(() => null);
      if (secret !== null && secret !== this.#secret) {
        this.#dead = false;
        this.#nextLook = 0;
        return;
      }
    }
  }

  #gatewayNow(): number {
    return Date.now() + this.#clockAheadMs;
  }

  #fields(): Record<string, string | number | null> {
    const expiresAt = this.#token?.expiresAt ?? null;
    return {
      file: this.#options.file.name,
      token_id: this.#token?.id ?? null,
      generation: this.#token?.generation ?? null,
      expires_at: rfc3339(expiresAt),
      expires_in: expiresAt === null ? null : spanForPeople(expiresAt - this.#gatewayNow()),
    };
  }
}

function worth(answer: Alive | Dead | Failed): number {
  if (answer.kind !== 'alive') return 0;
  return answer.superseded ? 1 : 2;
}

function rfc3339(moment: number | null): string | null {
  return moment === null ? null : new Date(moment).toISOString();
}

async function nap(milliseconds: number, stop: AbortSignal): Promise<void> {
  await delay(milliseconds, undefined, { signal: stop }).catch(() => undefined);
}
