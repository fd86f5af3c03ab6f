import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type EmbeddedStoreOptions, openEmbeddedStore } from '../../src/store/sqlite/embedded-store.ts';
import { openDatabase } from '../../src/store/sqlite/open-database.ts';
import type { Store } from '../../src/store/token-store.ts';
import { aMark } from '../contract/mark-fixture.ts';
import { aToken } from '../contract/token-fixture.ts';
import { mountDisk } from './limited-disk.ts';

const CREATE_TOKENS = join(import.meta.dirname, 'processes/create-tokens.ts');

describe('the embedded store', () => {
  let folder: string;
  let stores: Store[];

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'portcullis-embedded-'));
    stores = [];
  });
  afterEach(async () => {
    for (const store of stores) await store.close();
    rmSync(folder, { recursive: true, force: true });
  });

  function open(path = folder, hooks: Partial<EmbeddedStoreOptions> = {}): Store {
    const store = openEmbeddedStore({ path, ...hooks });
    stores.push(store);
    return store;
  }

  const mode = (path: string): string => (statSync(path).mode & 0o777).toString(8);

  it('makes a folder and files that only its user can read', async () => {
    const path = join(folder, 'deep/data');
    await open(path).create(aToken());
    expect(mode(path)).toBe('700');
    for (const name of ['portcullis.db', 'portcullis.db-wal', 'portcullis.db-shm']) {
      expect([name, mode(join(path, name))]).toEqual([name, '600']);
    }
  });

  it('leaves the mode of a folder that is there already', () => {
    const path = join(folder, 'data');
    mkdirSync(path);
    chmodSync(path, 0o750);
    open(path);
    expect(mode(path)).toBe('750');
  });

  it('syncs each acknowledged change to the disk, and usage with the next one', () => {
    const database = openDatabase(folder);
    const pragma = (connection: DatabaseSync, name: string): unknown =>
      connection.prepare(`PRAGMA ${name}`).get()?.[name];
    expect(pragma(database.durable, 'journal_mode')).toBe('wal');
    expect(pragma(database.durable, 'synchronous')).toBe(2);
    expect(pragma(database.relaxed, 'synchronous')).toBe(1);
    database.relaxed.close();
    database.durable.close();
  });

  it('answers a point read at once, without a promise', async () => {
    const record = aToken();
    const store = open();
    await store.create(record);
    expect(store.find(record.id)).toEqual(record);
    expect(store.find('nobodyknows1')).toBeNull();
  });

  it('keeps every acknowledged token through kill -9 in the middle of creating', async () => {
    const child = spawn(process.execPath, [CREATE_TOKENS, folder, '0'], { stdio: ['ignore', 'pipe', 'inherit'] });
    const ended = once(child, 'exit');
    const ids: string[] = [];
    for await (const line of createInterface({ input: child.stdout })) {
      ids.push(line);
      if (ids.length === 300) child.kill('SIGKILL');
    }
    expect((await ended)[1]).toBe('SIGKILL');
    expect(ids.length).toBeGreaterThanOrEqual(300);
    const store = open();
    expect(ids.filter((id) => store.find(id) === null)).toEqual([]);
    expect(await store.create(aToken())).toBe(true);
  });

  it('is safe for several processes that open a new folder and write at the same time', async () => {
    const path = join(folder, 'new');
    const children = Array.from({ length: 4 }, () =>
      spawn(process.execPath, [CREATE_TOKENS, path, '40'], { stdio: ['ignore', 'pipe', 'pipe'] }),
    );
    const outcomes = await Promise.all(
      children.map(async (child) => {
        const ended = once(child, 'close');
        let output = '';
        let errors = '';
        child.stdout.on('data', (chunk) => {
          output += chunk;
        });
        child.stderr.on('data', (chunk) => {
          errors += chunk;
        });
        const [status] = await ended;
        return { status, errors, ids: output.trim().split('\n') };
      }),
    );
    expect(outcomes.map(({ status, errors }) => ({ status, errors }))).toEqual(
      outcomes.map(() => ({ status: 0, errors: '' })),
    );
    const store = open(path);
    const ids = outcomes.flatMap((outcome) => outcome.ids);
    expect(ids).toHaveLength(160);
    expect(ids.filter((id) => store.find(id) === null)).toEqual([]);
  });

  it('waits for another writer, gives up with a clear fault, and reads all the while', async () => {
    const record = aToken();
    const store = open();
    await store.create(record);
    const other = new DatabaseSync(join(folder, 'portcullis.db'));
    other.exec('BEGIN IMMEDIATE');
    await expect(store.create(aToken())).rejects.toMatchObject({
      code: 'store_unavailable',
      message: expect.stringContaining('locked by another process'),
    });
    expect(store.find(record.id)).toEqual(record);
    other.exec('ROLLBACK');
    other.close();
    expect(await store.create(aToken())).toBe(true);
  });

  it('refuses changes on a full disk, keeps what it acknowledged, and goes on when there is room', async ({ skip }) => {
    const disk = mountDisk(2048);
    if (disk === null) return skip('mounting a small file system needs root');
    try {
      const ballast = join(disk.path, 'ballast');
      writeFileSync(ballast, Buffer.alloc(512 * 1024));
      const store = open(join(disk.path, 'data'));
      const records = [];
      let failure: unknown;
      while (failure === undefined && records.length < 10_000) {
        const record = aToken({ claims: { filler: 'x'.repeat(2000) } });
        try {
          await store.create(record);
          records.push(record);
        } catch (error) {
          failure = error;
        }
      }
      expect(failure).toMatchObject({ name: 'Fault', code: 'store_full' });
      expect(records.length).toBeGreaterThan(50);
      for (const record of records) expect(store.find(record.id)).toEqual(record);
      rmSync(ballast);
      const next = aToken();
      expect(await store.create(next)).toBe(true);
      await store.close();
      const reopened = open(join(disk.path, 'data'));
      for (const record of [...records, next]) expect(reopened.find(record.id)).toEqual(record);
      await reopened.close();
    } finally {
      disk.unmount();
    }
  });

  it('says that a folder is read-only', async ({ skip }) => {
    const disk = mountDisk(1024);
    if (disk === null && process.getuid?.() === 0) return skip('neither modes nor mounts hold this user back');
    const path = disk?.path ?? join(folder, 'locked');
    if (disk === null) mkdirSync(path, { mode: 0o500 });
    try {
      disk?.makeReadOnly();
      const fault = { code: 'store_unavailable', message: expect.stringMatching(/portcullis\.db: .*(EROFS|EACCES)/) };
      expect(() => open(path)).toThrow(expect.objectContaining(fault));
    } finally {
      disk?.unmount();
    }
  });

  it('makes the tables that a store of an older release lacks, and keeps what is in it', async () => {
    const record = aToken();
    const store = open();
    await store.create(record);
    await store.close();
    const database = new DatabaseSync(join(folder, 'portcullis.db'));
    database.exec('DROP TABLE revocation_mark; PRAGMA user_version = 2');
    database.close();
    const upgraded = open();
    expect(upgraded.find(record.id)).toEqual(record);
    const mark = aMark({ jti: 'one' });
    await upgraded.putMark(mark, 10);
    expect(await open().findMarks([mark.id])).toEqual([mark]);
  });

  it('refuses a store of a newer release, and leaves it as it is', async () => {
    const record = aToken();
    const store = open();
    await store.create(record);
    await store.close();
    const setVersion = (version: number): void => {
      const database = new DatabaseSync(join(folder, 'portcullis.db'));
      database.exec(`PRAGMA user_version = ${version}`);
      database.close();
    };
    setVersion(4);
    const message = expect.stringMatching(/portcullis\.db: written by a newer release \(layout 4; this one knows 3\)/);
    expect(() => open()).toThrow(expect.objectContaining({ code: 'internal', message }));
    setVersion(3);
    expect(open().find(record.id)).toEqual(record);
  });

  it('refuses a database of somebody else, and a file that is none', () => {
    const database = new DatabaseSync(join(folder, 'portcullis.db'));
    database.exec('CREATE TABLE cooking (recipe TEXT)');
    database.close();
    const before = readFileSync(join(folder, 'portcullis.db'));
    const foreign = { code: 'internal', message: expect.stringContaining('not a token store') };
    expect(() => open()).toThrow(expect.objectContaining(foreign));
    expect(readFileSync(join(folder, 'portcullis.db')).equals(before)).toBe(true);
    rmSync(join(folder, 'portcullis.db'));
    writeFileSync(join(folder, 'portcullis.db'), 'plain text, long enough to have a header. '.repeat(50));
    const garbage = { code: 'internal', message: expect.stringContaining('not an SQLite database') };
    expect(() => open()).toThrow(expect.objectContaining(garbage));
    rmSync(join(folder, 'portcullis.db'));
    writeFileSync(join(folder, 'file'), '');
    const notFolder = { code: 'store_unavailable', message: expect.stringContaining('cannot be opened for writing') };
    expect(() => open(join(folder, 'file'))).toThrow(expect.objectContaining(notFolder));
  });

  it('notices that its file was removed or replaced, tells the listener once, and again when it is back', async () => {
    const heard: string[] = [];
    const store = open(folder, { listen: (state) => heard.push(state) });
    const file = join(folder, 'portcullis.db');
    await store.ping();
    renameSync(file, `${file}.away`);
    const fault = { code: 'store_unavailable', message: expect.stringContaining('removed or replaced') };
    await expect(store.ping()).rejects.toMatchObject(fault);
    writeFileSync(file, '');
    await expect(store.ping()).rejects.toMatchObject(fault);
    expect(heard).toEqual(['lost']);
    renameSync(`${file}.away`, file);
    await store.ping();
    expect(heard).toEqual(['lost', 'restored']);
  });
});
