import type { AuditLog } from '../../audit/audit-log.ts';
import type { Snapshot } from '../../metrics/merge.ts';
import type { ProcessView } from '../gateway-view.ts';
import { LineFeed } from './line-feed.ts';
import type { Answers, Question, Told, ToSupervisor, ToWorker } from './messages.ts';

/** How often what was counted is told to the supervisor, milliseconds: that much is lost with a worker that is killed. */
const COUNTED_EVERY_MS = 5_000;
/** Lines wait so long for others to be sent with them, milliseconds. */
const BATCH_MS = 20;

type Listener = { readonly onLine: (line: string) => void; readonly onMissed: (count: number) => void };

/** The other workers of this gateway, as one of them sees them: through the supervisor. */
export class Siblings {
  /** The number of this worker, from 1. */
  readonly worker: number;
  /** Milliseconds since the epoch. */
  readonly gatewayStartedAt: number;
  readonly #send: (message: ToSupervisor, sent?: () => void) => void;
  readonly #pending = new Map<number, (answers: readonly Told<unknown>[]) => void>();
  readonly #listeners = new Set<Listener>();
  readonly #feed: LineFeed;
  #own: ProcessView | null = null;
  #audit: AuditLog | null = null;
  #questions = 0;
  #published: string[] = [];
  #endPublishing: (() => void) | null = null;
  #timer: NodeJS.Timeout | null = null;

  constructor(
    start: { readonly worker: number; readonly gatewayStartedAt: number },
    send: (message: ToSupervisor, sent?: () => void) => void,
  ) {
    this.worker = start.worker;
    this.gatewayStartedAt = start.gatewayStartedAt;
    this.#send = send;
    this.#feed = new LineFeed(send);
  }

  /** From now on the others are answered. */
  attend(own: ProcessView, audit: AuditLog): void {
    this.#own = own;
    this.#audit = audit;
    this.#timer = setInterval(() => void this.tellCounted().catch(() => undefined), COUNTED_EVERY_MS);
    this.#timer.unref();
  }

  /** Answers of the others, without those who do not answer in time. `own` goes along so that the supervisor has it too. */
  ask<Q extends Question>(question: Q, own: Snapshot | null = null): Promise<readonly Told<Answers[Q]>[]> {
    this.#questions += 1;
    const id = this.#questions;
    return new Promise((resolve) => {
      // What was asked decides what the answers are: both ends are this program.
      this.#pending.set(id, (answers) => resolve(answers as readonly Told<Answers[Q]>[]));
      this.#send({ type: 'ask', id, question, own });
    });
  }

  /** The audit trail with the events of the others for those who follow it. */
  withEventsOfAll(audit: AuditLog): AuditLog {
    return {
      record: (event) => audit.record(event),
      recordDurably: (event) => audit.recordDurably(event),
      get saturated() {
        return audit.saturated;
      },
      close: () => audit.close(),
      subscribe: (onLine, onMissed = () => undefined) => {
        const endOwn = audit.subscribe(onLine);
        const endOthers = this.#follow({ onLine, onMissed });
        return () => {
          endOwn();
          endOthers();
        };
      },
    };
  }

  /** False where the message is none for here. */
  receive(message: ToWorker): boolean {
    switch (message.type) {
      case 'question':
        void this.#answer(message.id, message.question);
        return true;
      case 'answers':
        this.#pending.get(message.id)?.(message.answers);
        this.#pending.delete(message.id);
        return true;
      case 'publish':
        this.#publish(message.wanted);
        return true;
      case 'lines':
        for (const { onLine, onMissed } of this.#listeners) {
          if (message.missed > 0) onMissed(message.missed);
          for (const line of message.lines) onLine(line);
        }
        return true;
      default:
        return false;
    }
  }

  async tellCounted(): Promise<void> {
    if (this.#own === null) return;
    const snapshot = await this.#own.metrics();
    await new Promise<void>((resolve) => this.#send({ type: 'counted', snapshot }, resolve));
  }

  close(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#publish(false);
  }

  async #answer(id: number, question: Question): Promise<void> {
    if (this.#own === null) return;
    const value = await answerOf(this.#own, question).catch(() => null);
    if (value !== null) this.#send({ type: 'answer', id, value });
  }

  #follow(listener: Listener): () => void {
    this.#listeners.add(listener);
    if (this.#listeners.size === 1) this.#send({ type: 'follow', wanted: true });
    return () => {
      if (this.#listeners.delete(listener) && this.#listeners.size === 0) this.#send({ type: 'follow', wanted: false });
    };
  }

  #publish(wanted: boolean): void {
    if (wanted === (this.#endPublishing !== null)) return;
    this.#endPublishing?.();
    this.#endPublishing = wanted ? (this.#audit?.subscribe((line) => this.#gather(line)) ?? null) : null;
  }

  #gather(line: string): void {
    if (this.#published.push(line) > 1) return;
    setTimeout(() => this.#feed.send(this.#published.splice(0)), BATCH_MS);
  }
}

async function answerOf(own: ProcessView, question: Question): Promise<Answers[Question]> {
  switch (question) {
    case 'metrics':
      return await own.metrics();
    case 'status':
      return own.status();
    case 'ready':
      return await own.ready();
    case 'hits':
      return own.hits();
    case 'reload': {
      const outcome = await own.reload();
      return outcome.ok ? { ok: true } : { ok: false, diagnostics: outcome.diagnostics };
    }
  }
}
