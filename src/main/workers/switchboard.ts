import { remains, type Snapshot } from '../../metrics/merge.ts';
import { LineFeed } from './line-feed.ts';
import type { Question, Told, ToSupervisor, ToWorker } from './messages.ts';

/** How long the workers are given to answer a question, milliseconds. */
const PATIENCE_MS: Readonly<Record<Question, number>> = {
  metrics: 5_000,
  status: 2_000,
  // Asked by probes, which wait a second; who does not answer takes no connections either.
  ready: 500,
  hits: 2_000,
  reload: 20_000,
};

/** A worker that runs, as far as its messages go. */
export interface Member {
  readonly worker: number;
  send(message: ToWorker, sent?: () => void): void;
}

interface Round {
  readonly asker: Member;
  readonly id: number;
  readonly question: Question;
  readonly missing: Set<Member>;
  readonly answers: Map<Member, unknown>;
  readonly timer: NodeJS.Timeout;
}

/** Carries questions, answers and live events between the workers, and keeps what those have counted that are gone. */
export class Switchboard {
  readonly #members = new Map<Member, LineFeed>();
  readonly #rounds = new Map<number, Round>();
  readonly #followers = new Set<Member>();
  readonly #counted = new Map<Member, Snapshot>();
  #remains: Snapshot | null = null;
  #nextRound = 0;

  join(member: Member): void {
    this.#members.set(member, new LineFeed((message, sent) => member.send(message, sent)));
    if (this.#followers.size > 0) member.send({ type: 'publish', wanted: true });
  }

  leave(member: Member): void {
    if (!this.#members.delete(member)) return;
    const counted = this.#counted.get(member);
    this.#counted.delete(member);
    if (counted !== undefined) this.#remains = remains([...(this.#remains === null ? [] : [this.#remains]), counted]);
    this.#setFollowing(member, false);
    for (const [number, round] of this.#rounds) {
      if (round.missing.delete(member) && round.missing.size === 0) this.#finish(number);
    }
  }

  /** False where the message is none for here. */
  receive(from: Member, message: ToSupervisor): boolean {
    switch (message.type) {
      case 'ask':
        if (message.own !== null) this.#counted.set(from, message.own);
        this.#ask(from, message.id, message.question);
        return true;
      case 'answer':
        this.#answered(from, message.id, message.value);
        return true;
      case 'counted':
        this.#counted.set(from, message.snapshot);
        return true;
      case 'follow':
        this.#setFollowing(from, message.wanted);
        return true;
      case 'lines':
        for (const follower of this.#followers) {
          if (follower !== from) this.#members.get(follower)?.send(message.lines, message.missed);
        }
        return true;
      default:
        return false;
    }
  }

  #ask(asker: Member, id: number, question: Question): void {
    this.#nextRound += 1;
    const number = this.#nextRound;
    const missing = new Set([...this.#members.keys()].filter((member) => member !== asker));
    const timer = setTimeout(() => this.#finish(number), PATIENCE_MS[question]);
    this.#rounds.set(number, { asker, id, question, missing, answers: new Map(), timer });
    for (const member of missing) member.send({ type: 'question', id: number, question });
    if (missing.size === 0) this.#finish(number);
  }

  #answered(from: Member, number: number, value: unknown): void {
    const round = this.#rounds.get(number);
    if (round === undefined || !round.missing.delete(from)) return;
    round.answers.set(from, value);
    // Known to be a snapshot: it answers the question for one.
    if (round.question === 'metrics') this.#counted.set(from, value as Snapshot);
    if (round.missing.size === 0) this.#finish(number);
  }

  #finish(number: number): void {
    const round = this.#rounds.get(number);
    if (round === undefined) return;
    this.#rounds.delete(number);
    clearTimeout(round.timer);
    const { asker, id } = round;
    asker.send({ type: 'answers', id, answers: round.question === 'metrics' ? this.#allCounted(asker) : told(round) });
  }

  /** Of those who run, the last that is known, and what is left of the others: no process twice and none left out. */
  #allCounted(asker: Member): Told<Snapshot>[] {
    const running = [...this.#counted]
      .filter(([member]) => member !== asker)
      .map(([{ worker }, value]) => ({ worker, value }));
    return this.#remains === null ? running : [...running, { worker: 0, value: this.#remains }];
  }

  #setFollowing(member: Member, wanted: boolean): void {
    const before = this.#followers.size > 0;
    if (wanted) this.#followers.add(member);
    else this.#followers.delete(member);
    const now = this.#followers.size > 0;
    if (before === now) return;
    for (const other of this.#members.keys()) other.send({ type: 'publish', wanted: now });
  }
}

function told({ answers }: Round): Told<unknown>[] {
  return [...answers].map(([{ worker }, value]) => ({ worker, value }));
}
