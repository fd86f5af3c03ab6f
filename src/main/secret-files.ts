import { readFile, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { err, type Result } from '../base/result.ts';
import { HeldSecret, Secret } from '../base/secret.ts';
import { errorCode, type FollowedSecret, LARGEST_SECRET_BYTES, secretOf } from '../config/secret-reference.ts';
import type { Logger } from '../metrics/log.ts';
import { FolderWatch } from './folder-watch.ts';

/** A file that is being written is not half a secret: it counts when two looks so far apart find the same. */
const SETTLE_MS = 50;
const SETTLE_TRIES = 20;

/**
 * Files that hold secrets, read again when they change, whatever the change: written, renamed, or a symbolic link to another
 * folder (Kubernetes). What cannot be used leaves the last good secret in force, and the log says so, without a word
 * of what was read.
 */
export class SecretFiles {
  readonly #log: Logger;
  readonly #followed: FollowedFile[] = [];
  readonly #watches: FolderWatch[] = [];

  constructor(log: Logger) {
    this.#log = log;
  }

  /** A secret that is always there, and as new as its file. `complaint`: why a text cannot be it, or null. */
  hold(place: string, secret: FollowedSecret, complaint: (text: string) => string | null = () => null): HeldSecret {
    const held = new HeldSecret(secret.value);
    this.follow(place, secret, (text) => {
      const wrong = complaint(text);
      if (wrong === null) held.replace(new Secret(text));
      return wrong;
    });
    return held;
  }

  /**
   * Calls `take` with each new text of the file. It says why the text is of no use, without repeating it, or null. `place`
   * is the key of the configuration.
   */
  follow(place: string, { value, file }: FollowedSecret, take: (text: string) => string | null): void {
    if (file !== null) this.#followed.push(new FollowedFile(place, file, value, take, this.#log));
  }

  /** Looks once (the configuration may have been read long ago, by another process), then whenever something changes. */
  async start(): Promise<void> {
    await this.look();
    for (const folder of new Set(this.#followed.map(({ file }) => dirname(file)))) {
      const there = this.#followed.filter(({ file }) => dirname(file) === folder);
      this.#watches.push(new FolderWatch(folder, () => lookAt(there), this.#log));
    }
  }

  async look(): Promise<void> {
    await lookAt(this.#followed);
  }

  close(): void {
    for (const watch of this.#watches) watch.close();
  }
}

async function lookAt(files: readonly FollowedFile[]): Promise<void> {
  await Promise.all(files.map((file) => file.look()));
}

class FollowedFile {
  readonly file: string;
  readonly #place: string;
  readonly #take: (text: string) => string | null;
  readonly #log: Logger;
  #current: Secret;
  /** What is wrong with the file as it stands; said once, not at every look. */
  #complaint: string | null = null;
  #tail: Promise<void> = Promise.resolve();

  constructor(place: string, file: string, first: Secret, take: (text: string) => string | null, log: Logger) {
    this.#place = place;
    this.file = file;
    this.#current = first;
    this.#take = take;
    this.#log = log;
  }

  /** One look at a time; never rejects. */
  look(): Promise<void> {
    this.#tail = this.#tail.then(() => this.#look());
    return this.#tail;
  }

  async #look(): Promise<void> {
    const fields = { place: this.#place, file: this.file };
    try {
      const found = await this.#settled();
      if (found.ok && found.value === this.#current.reveal()) {
        if (this.#complaint !== null) this.#log.info(fields, 'a secret file is in order again');
        this.#complaint = null;
        return;
      }
      const complaint = found.ok ? this.#take(found.value) : found.error;
      if (found.ok && complaint === null) {
        this.#current = new Secret(found.value);
        this.#log.info(fields, 'a secret file has changed, and what it holds now was taken up');
      } else if (complaint !== this.#complaint) {
        this.#log.error({ ...fields, complaint }, 'a secret file cannot be used; the last good secret stays in force');
      }
      this.#complaint = complaint;
    } catch {
      // Whatever it was that failed, its text may hold what was read.
      this.#log.error(fields, 'a secret file could not be taken up; the last good secret stays in force');
    }
  }

  async #settled(): Promise<Result<string, string>> {
    let last = await readSecretFile(this.file);
    for (let tries = 0; tries < SETTLE_TRIES; tries += 1) {
      if (last.ok && last.value === this.#current.reveal()) return last;
      if (!last.ok && last.error === this.#complaint) return last;
      await pause(SETTLE_MS);
      const next = await readSecretFile(this.file);
      if (sameOutcome(last, next)) return next;
      last = next;
    }
    return err('does not come to rest');
  }
}

async function readSecretFile(file: string): Promise<Result<string, string>> {
  try {
    const status = await stat(file);
    if (!status.isFile()) return err('is not a file');
    if (status.size > LARGEST_SECRET_BYTES) return err('is larger than 64 KiB');
    return secretOf(await readFile(file, 'utf8'), file);
  } catch (error) {
    return err(`cannot be read (${errorCode(error)})`);
  }
}

function sameOutcome(one: Result<string, string>, other: Result<string, string>): boolean {
  if (one.ok !== other.ok) return false;
  return one.ok ? other.ok && one.value === other.value : !other.ok && one.error === other.error;
}
