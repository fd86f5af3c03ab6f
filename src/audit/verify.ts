import { createHash } from 'node:crypto';
import { GENESIS_HASH, readSealedLine, type SealedLine } from './chain.ts';

/** What can be wrong with a line or with the place where one should be. */
export type ProblemKind =
  | 'malformed'
  | 'edited'
  | 'removed'
  | 'out_of_order'
  | 'replaced'
  | 'torn'
  | 'missing_start'
  | 'foreign_chain'
  | 'cut_off'
  | 'rewritten'
  | 'unreadable';

export interface Problem {
  readonly file: string;
  /** From 1; 0 where the file as a whole is meant. */
  readonly line: number;
  readonly kind: ProblemKind;
  readonly message: string;
}

export interface Notice {
  readonly file: string;
  readonly line: number;
  readonly message: string;
}

export interface ChainSummary {
  readonly chain: string;
  readonly firstSeq: number;
  readonly lastSeq: number;
  readonly lastHash: string;
  /** Whether the chain ends with the checkpoint of an orderly shutdown. If not, its process runs, or was killed. */
  readonly closed: boolean;
  /** The `seq` of the checkpoint it was compared with. */
  readonly checkpoint: number | null;
}

export interface Checkpoint {
  readonly seq: number;
  readonly hash: string;
}

interface Chain {
  readonly id: string;
  readonly firstSeq: number;
  seq: number;
  /** What the next line may follow. Two after an edited line: what it says of itself, and what it really comes to. */
  hashes: readonly string[];
  closed: boolean;
  file: string;
  line: number;
}

interface Suspect {
  readonly line: number;
  readonly bytes: number;
  readonly sha256: string;
}

/**
 * Checks lines one by one, in the order in which they were written; it reads nothing itself and holds no more than the
 * ends of the chains. After a bad line it goes on with what can still be told, so that one edit is one problem.
 */
export class ChainVerifier {
  readonly #report: (problem: Problem) => void;
  readonly #notice: (notice: Notice) => void;
  readonly #checkpoints: ReadonlyMap<string, Checkpoint>;
  readonly #chains = new Map<string, Chain>();
  #chain: Chain | null = null;
  #file = '';
  #firstOfFile = true;
  /** Bad lines since the last good one. */
  #skipped = 0;
  /** A line that is no event: a fragment that a crash left, if the next line says so. */
  #suspect: Suspect | null = null;

  constructor(
    checkpoints: ReadonlyMap<string, Checkpoint>,
    report: (problem: Problem) => void,
    notice: (notice: Notice) => void,
  ) {
    this.#checkpoints = checkpoints;
    this.#report = report;
    this.#notice = notice;
  }

  beginFile(file: string): void {
    this.#file = file;
    this.#firstOfFile = true;
    this.#skipped = 0;
  }

  /** `line` counts from 1; `bytes` are without the line end, which was there if `terminated`. */
  line(line: number, bytes: Buffer, terminated: boolean): void {
    const sealed = readSealedLine(bytes);
    if (!terminated) {
      this.#settleSuspect();
      const what = sealed === null ? 'the line breaks off in the middle' : 'the end of the line is missing';
      this.#problem(line, 'torn', `${what}: the file was cut off here, or a write was not finished`);
      if (sealed === null) return;
    } else if (sealed === null) {
      this.#settleSuspect();
      this.#suspect = { line, bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') };
      return;
    }
    if (sealed.hash !== sealed.computedHash) this.#edited(line, sealed);
    else if (sealed.event.type === 'chain.start') this.#start(line, sealed);
    else this.#follow(line, sealed);
  }

  endFile(): void {
    this.#settleSuspect();
    if (this.#firstOfFile) this.#say(0, 'the file holds no event');
  }

  finish(): ChainSummary[] {
    for (const [id, checkpoint] of this.#checkpoints) {
      const chain = this.#chains.get(id);
      if (chain === undefined) {
        const message = `no file given holds the chain ${id}, which the store knows up to event ${checkpoint.seq}`;
        this.#report({ file: '', line: 0, kind: 'cut_off', message });
      } else if (chain.seq < checkpoint.seq) {
        const gone = checkpoint.seq - chain.seq;
        const message = `the end is cut off, or a newer file was not given: the store knows ${gone} more event${gone === 1 ? '' : 's'}, up to ${checkpoint.seq}`;
        this.#report({ file: chain.file, line: chain.line, kind: 'cut_off', message });
      }
    }
    return [...this.#chains.values()].map((chain) => ({
      chain: chain.id,
      firstSeq: chain.firstSeq,
      lastSeq: chain.seq,
      lastHash: chain.hashes[0] ?? '',
      closed: chain.closed,
      checkpoint: this.#checkpoints.get(chain.id)?.seq ?? null,
    }));
  }

  #edited(line: number, sealed: SealedLine): void {
    this.#settleSuspect();
    this.#problem(line, 'edited', 'the line was changed: its hash is not that of its content');
    const chain = this.#chain;
    this.#firstOfFile = false;
    if (chain === null) return;
    const inPlace = chain.hashes.includes(sealed.prev) || sealed.event.seq === chain.seq + 1;
    if (!inPlace) {
      this.#skipped += 1;
      return;
    }
    chain.seq += 1;
    chain.hashes = [sealed.hash, sealed.computedHash];
    this.#at(chain, line);
  }

  #follow(line: number, sealed: SealedLine): void {
    this.#settleSuspect();
    const bad = this.#skipped > 0;
    if (this.#firstOfFile && !bad) {
      this.#problem(line, 'missing_start', 'the file does not begin with chain.start: lines before this one are gone');
    }
    const chain = this.#chain;
    if (chain === null) this.#chain = this.#adopt(line, sealed, '');
    else if (this.#firstOfFile && !bad) this.#advance(chain, line, sealed);
    else if (!this.#linked(chain, line, sealed)) return;
    this.#firstOfFile = false;
  }

  /** Whether the chain goes on from this line. */
  #linked(chain: Chain, line: number, sealed: SealedLine): boolean {
    const { seq } = sealed.event;
    const linked = chain.hashes.includes(sealed.prev);
    const expected = chain.seq + 1;
    const acrossBadLines = seq > expected && seq <= expected + this.#skipped;
    if (!(linked && seq === expected) && !acrossBadLines) {
      if (seq > expected) {
        const last = seq - 1;
        const which = expected === last ? `event ${expected} is` : `events ${expected} to ${last} are`;
        this.#problem(line, 'removed', `${which} missing before this line: removed, or moved elsewhere`);
      } else if (seq < expected) {
        this.#problem(line, 'out_of_order', `event ${seq} has no place here: inserted, repeated or moved`);
        return false;
      } else {
        this.#problem(line, 'replaced', 'the line does not follow the one before: one of the two was put in its place');
      }
    }
    this.#advance(chain, line, sealed);
    return true;
  }

  #start(line: number, sealed: SealedLine): void {
    const details = sealed.event.details ?? {};
    const id = typeof details['chain'] === 'string' ? details['chain'] : '';
    this.#settleSuspect(tornOf(details['torn']), line);
    const known = this.#chains.get(id);
    if (this.#firstOfFile) {
      if (details['file'] !== 'new' && this.#skipped === 0) {
        this.#problem(line, 'missing_start', 'the file was begun earlier than this: lines before this one are gone');
      }
      if (known === undefined) this.#beginning(line, sealed, details['after'] === 'checkpoint');
    } else if (this.#chain !== null && this.#chain.id !== '' && known === undefined) {
      this.#problem(line, 'foreign_chain', `the chain ${id} begins here, in a file of the chain ${this.#chain.id}`);
    }
    this.#firstOfFile = false;
    if (known === undefined) {
      this.#chain = this.#adopt(line, sealed, id);
      return;
    }
    this.#chain = known;
    // A start is followed even out of place: whatever comes after it belongs to it.
    if (!this.#linked(known, line, sealed)) this.#advance(known, line, sealed);
  }

  /** The first line of the first file of a chain. */
  #beginning(line: number, sealed: SealedLine, afterCheckpoint: boolean): void {
    const { seq } = sealed.event;
    if (seq === 1 && sealed.prev === GENESIS_HASH) return;
    if (seq === 1 || sealed.prev === GENESIS_HASH) {
      this.#problem(line, 'replaced', 'only the first event of a chain follows nothing, and this is not it');
    } else if (afterCheckpoint) {
      const message = `the file was gone when the process started, with all events up to ${seq - 1}; if it was rotated, give it as well`;
      this.#problem(line, 'removed', message);
    } else {
      this.#say(line, `the chain begins with event ${seq}: those before are in a file that was not given`);
    }
  }

  #adopt(line: number, sealed: SealedLine, id: string): Chain {
    const seq = sealed.event.seq;
    const chain: Chain = { id, firstSeq: seq, seq, hashes: [], closed: false, file: this.#file, line };
    this.#chains.set(id, chain);
    this.#advance(chain, line, sealed);
    return chain;
  }

  #advance(chain: Chain, line: number, sealed: SealedLine): void {
    const { event, hash } = sealed;
    chain.seq = event.seq;
    chain.hashes = [hash];
    chain.closed = event.type === 'chain.checkpoint' && event.details?.['final'] === true;
    this.#skipped = 0;
    this.#at(chain, line);
    const checkpoint = this.#checkpoints.get(chain.id);
    if (checkpoint?.seq === event.seq && checkpoint.hash !== hash) {
      const message = `event ${event.seq} is not the one that the store remembers: the chain was written anew up to here`;
      this.#problem(line, 'rewritten', message);
    }
  }

  #at(chain: Chain, line: number): void {
    chain.file = this.#file;
    chain.line = line;
  }

  /** Says what the last line that was no event comes to, now that it is known whether a restart has explained it. */
  #settleSuspect(torn: Omit<Suspect, 'line'> | null = null, line = 0): void {
    const suspect = this.#suspect;
    this.#suspect = null;
    if (suspect === null) {
      if (torn !== null && this.#skipped === 0) {
        this.#problem(line, 'removed', 'this start tells of an unfinished line before it, which is gone');
      }
      return;
    }
    if (torn !== null && torn.bytes === suspect.bytes && torn.sha256 === suspect.sha256) {
      this.#say(suspect.line, 'an unfinished line, left by a crash and recorded at the restart');
      return;
    }
    this.#problem(suspect.line, 'malformed', 'the line is not an event as it was written: changed, or put in');
    this.#skipped += 1;
  }

  #problem(line: number, kind: ProblemKind, message: string): void {
    this.#report({ file: this.#file, line, kind, message });
  }

  #say(line: number, message: string): void {
    this.#notice({ file: this.#file, line, message });
  }
}

function tornOf(value: unknown): Omit<Suspect, 'line'> | null {
  if (typeof value !== 'object' || value === null || !('bytes' in value) || !('sha256' in value)) return null;
  const { bytes, sha256 } = value;
  return typeof bytes === 'number' && typeof sha256 === 'string' ? { bytes, sha256 } : null;
}
